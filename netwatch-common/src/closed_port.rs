//! The map `CLOSED_PORTS`: who tried ports of this host that nobody has.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A source and what it tried. Only the first of its attempts between two readings counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClosedPort {
    /// The sender's address: 16 bytes for IPv6, the first 4 for IPv4.
    pub source: [u64; 2],
    /// Host order.
    pub port: u16,
    /// `AF_INET` or `AF_INET6`, of the addresses.
    pub family: u16,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u32,
}

/// When, and at which of this host's addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tried {
    /// Nanoseconds from boot.
    pub at_ns: u64,
    /// As [`ClosedPort::source`].
    pub destination: [u64; 2],
}

/// How many functions `RECEIVERS` has room for: of TCP and UDP over IPv4 and IPv6.
pub const RECEIVERS: usize = 4;

const _: () = assert!(size_of::<ClosedPort>() == 24);
const _: () = assert!(size_of::<Tried>() == 24);
