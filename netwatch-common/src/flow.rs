//! The maps `FLOWS` and `OWNERS` of the rung `cgroup`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{process::ProcessKey, socket::SocketRow};

/// A socket as programs of a cgroup see it, by its cookie.
///
/// In its record, `rx_bytes` and `tx_bytes` are what TCP received and what its peer
/// acknowledged, a SYN and a FIN counted as one each; 0 for other protocols.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flow {
    /// What is known of it.
    pub row: SocketRow,
    /// Nanoseconds from boot to when it was first seen.
    pub seen_ns: u64,
    /// TCP: what `rx_bytes` was then.
    pub rx_before: u64,
    /// TCP: what `tx_bytes` was.
    pub tx_before: u64,
    /// TCP: the state before it became CLOSE.
    pub last_state: u32,
    /// 1 once the end of the socket will be told.
    pub end_is_seen: u32,
}

/// Who made a socket. A socket that is accepted has its listener's.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Owner {
    /// The process; its start is not known to these programs.
    pub key: ProcessKey,
    /// The name of the thread that made the socket, NUL-padded.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Flow>() == size_of::<SocketRow>() + 32);
const _: () = assert!(size_of::<Owner>() == 32);
