//! Offloads of an interface, by the ioctl that `ethtool -K` uses.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;

/// `ETHTOOL_STSO`, `ETHTOOL_SGSO`, `ETHTOOL_SGRO`.
const SWITCHES: [(&str, u32); 3] = [("TSO", 0x1f), ("GSO", 0x24), ("GRO", 0x2c)];

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches segmentation and its reverse on or off.
pub(super) fn segmentation(interface: &str, on: bool) -> Result<()> {
    // SAFETY: plain numbers; the result is checked.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    for (name, command) in SWITCHES {
        let mut value = Value {
            command,
            data: on.into(),
        };
        // SAFETY: all zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: request and the value it points to live until the call returns.
        Errno::result(unsafe {
            libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request)
        })
        .with_context(|| format!("switch {name} of {interface}"))?;
    }
    Ok(())
}
