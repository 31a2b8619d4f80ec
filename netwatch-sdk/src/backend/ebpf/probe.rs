//! Kprobes by address, where the addresses are known.
//!
//! aya attaches by name. Before Linux 6.2 (and 6.1.y) the kernel then goes through all its
//! symbols, up to four times a probe: of thirty that is most of a start.

use std::{
    fs,
    io::{self, Error},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use zerocopy::{Immutable, IntoBytes};

const DEVICE: &str = "/sys/bus/event_source/devices/kprobe";

/// `struct perf_event_attr` as far as kprobes have use for it.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Attributes {
    kind: u32,
    size: u32,
    /// Whether it is on the function's return.
    config: u64,
    sample: [u64; 3],
    flags: u64,
    wakeup: [u32; 2],
    /// A name; 0 for an address.
    config1: u64,
    /// The address.
    config2: u64,
}

/// Attaches a loaded program to the function at an address, or to its return, for as long
/// as the descriptor is open.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    address: u64,
    on_return: bool,
) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: number("type", "")?,
        size: size_of::<Attributes>() as u32,
        config: if on_return {
            1 << number("format/retprobe", "config:")?
        } else {
            0
        },
        config2: address,
        ..Attributes::default()
    };
    let (any_process, cpu, no_group) = (-1, 0, -1);
    // SAFETY: as many bytes as the attributes say; they hold no pointer.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            any_process,
            cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let event = i32::try_from(event).map_err(Error::other)?;
    if event < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the call made this descriptor, nobody else has it.
    let event = unsafe { OwnedFd::from_raw_fd(event) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: an open event; the argument is a number.
        let done = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
        if done < 0 {
            return Err(Error::last_os_error());
        }
    }
    Ok(event)
}

/// `PERF_FLAG_FD_CLOEXEC`
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
/// `PERF_EVENT_IOC_ENABLE`
const ENABLE: libc::Ioctl = 0x2400;
/// `PERF_EVENT_IOC_SET_BPF`
const SET_BPF: libc::Ioctl = 0x4004_2408;

/// A number that a file of the device has.
fn number(file: &str, before: &str) -> io::Result<u32> {
    let text = fs::read_to_string(Path::new(DEVICE).join(file))?;
    let number = text.trim().strip_prefix(before).map(str::parse);
    number
        .and_then(Result::ok)
        .filter(|number| before.is_empty() || *number < 64)
        .ok_or_else(|| Error::other(format!("{DEVICE}/{file} is {text:?}")))
}
