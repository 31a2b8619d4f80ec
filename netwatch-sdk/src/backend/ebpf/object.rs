//! The kernel programs, embedded. `cargo xtask build-ebpf` makes them.

use crate::{Error, ErrorKind};

/// The object for this architecture.
#[cfg(target_arch = "x86_64")]
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("object/netwatch.x86_64.o");
/// The object for this architecture.
#[cfg(target_arch = "aarch64")]
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("object/netwatch.aarch64.o");

/// Lets the kernel take the object's pages back: a megabyte that only a start needs. They are
/// read from the file again when they are.
pub(super) fn give_back() {
    // SAFETY: takes no pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page @ 1..) = usize::try_from(page) else {
        return;
    };
    let before = OBJECT.as_ptr().align_offset(page);
    let whole = OBJECT.len().saturating_sub(before) / page * page;
    if whole > 0 {
        let start = OBJECT.as_ptr().wrapping_add(before).cast_mut().cast();
        // SAFETY: whole pages of constants, which nothing has written to. A failure changes
        // nothing.
        unsafe { libc::madvise(start, whole, libc::MADV_DONTNEED) };
    }
}

/// The error for what should be in it.
pub(super) fn missing(name: &str) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the embedded object has no {name}: run cargo xtask build-ebpf"),
    )
}
