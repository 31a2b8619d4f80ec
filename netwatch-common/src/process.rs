//! The map `PROCESSES`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::socket::Wire;

/// Which process: pid and start time, so that a reused pid is another process.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessKey {
    /// Nanoseconds from boot to the start of the thread group's leader; 0 means "none".
    pub start_ns: u64,
    /// Thread group id, as the initial pid namespace counts.
    pub tgid: u32,
    /// Always 0.
    pub reserved: u32,
}

impl ProcessKey {
    /// No process.
    pub const NONE: Self = Self {
        start_ns: 0,
        tgid: 0,
        reserved: 0,
    };
    /// The kernel: any kernel thread, and sockets the kernel made for itself.
    pub const KERNEL: Self = Self {
        start_ns: 1,
        tgid: 0,
        reserved: 0,
    };
    /// The start of a process when only its id is known.
    pub const START_UNKNOWN: u64 = 3;
    /// The collector's own test of its hooks; shown to nobody.
    pub const TEST: Self = Self {
        start_ns: 2,
        tgid: 0,
        reserved: 0,
    };
}

/// What a process moved beyond the open sockets it owns.
///
/// A process's total is this plus the owner's part of each open socket it owns.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessRecord {
    /// Payload bytes sent: by owned sockets since closed, and on sockets of others.
    pub tx_bytes: u64,
    /// Payload bytes received, likewise.
    pub rx_bytes: u64,
    /// Packets of owned sockets since closed.
    pub wire: [Wire; 2],
    /// The cgroup v2 the process was in when first seen.
    pub cgroup_id: u64,
    /// The leader's name, NUL-padded.
    pub comm: [u8; 16],
    /// 1 once every thread has exited.
    pub exited: u32,
    /// Always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ProcessKey>() == 16);
const _: () = assert!(size_of::<ProcessRecord>() == 112);
