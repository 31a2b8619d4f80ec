//! The ring buffer `EVENTS`: what happened to a connection. And the map `LISTENERS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{process::ProcessKey, socket::SocketHeader};

/// The connection was begun: by a connect call, or by a socket's first datagram.
pub const OPENED: u8 = 1;
/// Its handshake is done. For an incoming one this is also when it was opened.
pub const ESTABLISHED: u8 = 2;
/// It broke: `old_state` and `error` say how.
pub const BROKEN: u8 = 3;
/// Its socket is gone; the figures are final.
pub const CLOSED: u8 = 4;

/// One thing that happened to one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectionEvent {
    /// The socket as it is now.
    pub socket: SocketHeader,
    /// Whose it is; of an accepted one nobody has used yet, the listener's owner.
    pub owner: ProcessKey,
    /// The owner's name, NUL-padded.
    pub comm: [u8; 16],
    /// When, in nanoseconds from boot.
    pub time_ns: u64,
    /// When it was opened, likewise; 0 when that was not seen.
    pub opened_ns: u64,
    /// Payload bytes sent so far, by all processes.
    pub tx_bytes: u64,
    /// Payload bytes received so far, by all processes.
    pub rx_bytes: u64,
    /// The socket's error (`sk_err`), a number of `errno`; 0 for none.
    pub error: u32,
    /// The record's bits, `socket::FLAG_*`.
    pub flags: u32,
    /// Which of the four.
    pub kind: u8,
    /// TCP state number before.
    pub old_state: u8,
    /// Always 0.
    pub reserved: [u8; 6],
}

/// Who listens, kept in a listening socket and inherited by those it accepts.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Listener {
    /// The listening socket's owner.
    pub owner: ProcessKey,
    /// The owner's name, NUL-padded.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<ConnectionEvent>() == 176);
const _: () = assert!(size_of::<Listener>() == 32);
