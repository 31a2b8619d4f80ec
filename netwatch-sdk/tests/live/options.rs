//! Socket options that nix has no type for.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Sets an option to a C struct or number.
pub(crate) fn set<T: Copy>(fd: &impl AsFd, level: i32, name: i32, value: &T) -> nix::Result<()> {
    // SAFETY: `value` is readable for the length given, and the kernel only reads it.
    Errno::result(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Sets an option to bytes.
pub(crate) fn set_bytes(fd: &impl AsFd, level: i32, name: i32, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `value` is readable for the length given, and the kernel only reads it.
    Errno::result(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Reads an option into `value`, and returns how many bytes the kernel filled in.
pub(crate) fn get<T: Copy>(
    fd: &impl AsFd,
    level: i32,
    name: i32,
    value: &mut T,
) -> nix::Result<usize> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable for the length given; every `T` used here is plain numbers.
    Errno::result(unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    })?;
    Ok(length as usize)
}

/// An option that is one number.
pub(crate) fn number(fd: &impl AsFd, level: i32, name: i32) -> nix::Result<i32> {
    let mut value = 0_i32;
    get(fd, level, name, &mut value)?;
    Ok(value)
}

/// The kernel's name for a socket.
pub(crate) fn cookie(fd: &impl AsFd) -> nix::Result<u64> {
    let mut value = 0_u64;
    get(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut value)?;
    Ok(value)
}
