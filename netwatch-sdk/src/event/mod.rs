//! What happens, as it happens: connections that open, fail and close, and messages of
//! DNS clients.
//!
//! [`Collector::events`](crate::Collector::events) gives them. Serialized, an event is
//! one flat JSON object; `docs/events.md` describes its fields.

mod dns;
mod json;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::dns::{DnsEvent, DnsMessageKind};
use crate::reading::{Attribution, Direction, Netns, Payload, Protocol, Rtt, SocketId};

/// Something that happened. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// To a connection.
    Connection(Arc<ConnectionEvent>),
    /// A DNS client sent a message, or got one.
    Dns(Arc<DnsEvent>),
    /// Events are missing from this place on: a buffer was full.
    Lost(Lost),
}

/// What events can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// Connections.
    Connections,
    /// DNS messages by UDP.
    Dns,
}

impl Topic {
    /// Every topic with its name.
    pub const ALL: &[(&'static str, Self)] =
        &[("connections", Self::Connections), ("dns", Self::Dns)];
}

/// Events that nobody will see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// When that was noticed.
    pub time: DateTime<Utc>,
    /// How many, exactly.
    pub events: u64,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// It began. Outgoing TCP: a connect call was made. Incoming TCP: the handshake is
    /// done, and [`Established`](Self::Established) follows at once. UDP: a connected
    /// socket moved its first datagram.
    Opened,
    /// TCP: the handshake is done.
    Established,
    /// The peer answered the attempt with a reset, or something on the way said that
    /// nobody listens. Nothing follows.
    Refused,
    /// Nobody answered: to the attempt, and nothing follows; or on an established
    /// connection, and [`Closed`](Self::Closed) follows.
    TimedOut,
    /// Something on the way said that the peer cannot be reached; as
    /// [`TimedOut`](Self::TimedOut).
    Unreachable,
    /// The attempt ended in another way: the process gave up, or the kernel failed it
    /// with the error of the event. Nothing follows.
    Failed,
    /// An established connection was reset. [`Closed`](Self::Closed) follows.
    Reset,
    /// The socket of an established connection is gone; the figures are final.
    Closed,
}

impl Change {
    /// Every change with the name it has in JSON.
    pub const ALL: &[(&'static str, Self)] = &[
        ("opened", Self::Opened),
        ("established", Self::Established),
        ("refused", Self::Refused),
        ("timed_out", Self::TimedOut),
        ("unreachable", Self::Unreachable),
        ("failed", Self::Failed),
        ("reset", Self::Reset),
        ("closed", Self::Closed),
    ];

    /// The name it has in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Established => "established",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Reset => "reset",
            Self::Closed => "closed",
        }
    }
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// This host's.
    Local,
    /// The peer's.
    Remote,
}

impl Side {
    /// The name it has in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// Something happened to a connection. All figures are those of that moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionEvent {
    /// What.
    pub change: Change,
    /// When, to the clock's precision; never goes back within one connection, unless
    /// the clock is set.
    pub time: DateTime<Utc>,
    /// The connection's socket, the same in all its events.
    pub id: SocketId,
    /// The network namespace it is in.
    pub netns: Netns,
    /// TCP, UDP or MPTCP.
    pub protocol: Protocol,
    /// Local address, an IPv4-mapped one as IPv4. When an outgoing TCP connection is
    /// opened, its port is 0 unless the process chose one: the kernel does so later.
    pub local: SocketAddr,
    /// The peer's, likewise.
    pub remote: SocketAddr,
    /// Who opened it. UDP: outgoing when its first datagram was sent, incoming when it
    /// was received. `None` when that was before the collector started.
    pub direction: Option<Direction>,
    /// Whose it is: of whoever made the socket or, for an accepted one, first used it.
    /// Until then it is the owner of the listener.
    pub process: Attribution,
    /// Its name; `[kernel]` and `[unknown]` for none.
    pub process_name: String,
    /// When it started; `None` for none.
    pub process_started_at: Option<DateTime<Utc>>,
    /// The user id the socket was made with.
    pub uid: u32,
    /// The cgroup the socket was made in; `None` without cgroup v2.
    pub cgroup_id: Option<u64>,
    /// That cgroup's path; `None` also when it was gone before it was looked up.
    pub cgroup: Option<String>,
    /// Time since it was opened; `None` when that was before the collector started.
    pub age: Option<Duration>,
    /// Payload bytes so far, by all processes.
    pub payload: Payload,
    /// TCP only, and once measured.
    pub rtt: Option<Rtt>,
    /// TCP segments sent again so far; `None` for other protocols.
    pub retransmits: Option<u64>,
    /// The kernel's error, a number of `errno`; `None` without one.
    pub errno: Option<i32>,
    /// Who reset it; `None` for other events, and when both are possible: this host
    /// had closed its side already.
    pub reset_by: Option<Side>,
}

impl ConnectionEvent {
    /// The container that the cgroup's path names.
    #[must_use]
    pub fn container_id(&self) -> Option<&str> {
        container_id(self.cgroup.as_deref()?)
    }
}

/// The container a cgroup path names: 64 hexadecimal digits, as Docker, containerd,
/// CRI-O and Podman write them (`docker-ID.scope`, `cri-containerd-ID.scope`,
/// `libpod-ID.scope`, `/docker/ID`). The innermost one counts.
pub(crate) fn container_id(path: &str) -> Option<&str> {
    path.split(['/', '-', '.', ':'])
        .rev()
        .find(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_its_name_in_the_list() {
        for (name, change) in Change::ALL {
            assert_eq!(change.name(), *name);
        }
    }

    #[test]
    fn a_container_is_named_by_the_innermost_64_digits() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/burstable/pod1/{id}/child"),
            format!("/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(container_id(&path), Some(id.as_str()), "{path}");
        }
        assert_eq!(container_id("/system.slice/ssh.service"), None);
        assert_eq!(container_id("/docker/abc"), None);
    }
}
