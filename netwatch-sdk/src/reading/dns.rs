//! DNS as the byte counts see it: messages at the client's socket.

use std::{net::SocketAddr, time::Instant};

use chrono::{DateTime, Utc};

use super::{Attribution, SocketId};

/// One UDP message of a DNS client on this host.
#[cfg_attr(
    not(all(target_os = "linux", feature = "ebpf")),
    allow(dead_code, reason = "made by the kernel programs' backend only")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct DnsDatagram<'a> {
    /// By the kernel's clock.
    pub(crate) at: Instant,
    /// The same by the clock that people read.
    pub(crate) time: DateTime<Utc>,
    /// The client's socket.
    pub(crate) socket: SocketId,
    /// `true` when the client sent it, `false` when it arrived there.
    pub(crate) sent: bool,
    /// The client.
    pub(crate) local: SocketAddr,
    /// The server.
    pub(crate) remote: SocketAddr,
    /// Who owns the socket.
    pub(crate) owner: Attribution,
    /// Its name; empty where there is none.
    pub(crate) owner_name: &'a str,
    /// When it started; `None` for none.
    pub(crate) owner_started: Option<DateTime<Utc>>,
    /// That process answers DNS on this host as well.
    pub(crate) forwards: bool,
    /// The first bytes of the message, the question with them.
    pub(crate) message: &'a [u8],
}
