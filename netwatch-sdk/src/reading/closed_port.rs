//! Attempts at ports of this host that nobody has.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// One attempt: a TCP segment that begins or probes a connection, or a UDP datagram.
#[cfg_attr(
    not(all(target_os = "linux", feature = "ebpf")),
    allow(dead_code, reason = "made by the kernel programs' backend only")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClosedPort {
    /// By the kernel's clock.
    pub(crate) at: Instant,
    /// Who tried.
    pub(crate) source: IpAddr,
    /// This host's address, and the port.
    pub(crate) destination: SocketAddr,
}
