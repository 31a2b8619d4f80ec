//! The ring buffer `DNS`: UDP messages of DNS clients on this host, and who serves
//! DNS here.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::process::ProcessKey;

/// The port of DNS servers.
pub const PORT: u16 = 53;

/// First bytes of a message that are kept: header, the longest name there is, type
/// and class are 271.
pub const KEPT: usize = 272;

/// `DNS_WANTED`: no message is copied.
pub const NEVER: u32 = 0;
/// `DNS_WANTED`: all are.
pub const ALWAYS: u32 = 1;
/// `DNS_WANTED`: those that come while someone listens (`counters::DNS_TOLD`).
pub const WHILE_TOLD: u32 = 2;

/// [`DnsRow::kind`]: a client sent it.
pub const SENT: u16 = 0;
/// [`DnsRow::kind`]: it arrived at a client.
pub const RECEIVED: u16 = 1;
/// [`DnsRow::kind`]: no message; the owner's socket has answered on port 53, or was
/// asked there. Comes once a socket, before anything the owner asks because of that.
pub const SERVES: u16 = 2;

/// One message, at the client's socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DnsRow {
    /// Nanoseconds from boot.
    pub at_ns: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Who owns the socket.
    pub owner: ProcessKey,
    /// The owner's name, NUL-padded.
    pub comm: [u8; 16],
    /// The client's address: 16 bytes for IPv6, the first 4 for IPv4. A connected
    /// socket's own, else the packet's.
    pub local: [u64; 2],
    /// The server's, likewise.
    pub remote: [u64; 2],
    /// Bytes of the whole message.
    pub length: u32,
    /// `AF_INET` or `AF_INET6`, of the addresses.
    pub family: u16,
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// [`SENT`], [`RECEIVED`] or [`SERVES`].
    pub kind: u16,
    /// Always 0.
    pub reserved: u32,
    /// Its first bytes; those beyond `length` mean nothing.
    pub message: [u8; KEPT],
}

const _: () = assert!(size_of::<DnsRow>() == 368);
