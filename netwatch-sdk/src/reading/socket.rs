//! Sockets as the byte counts see them.

use std::{fmt, net::SocketAddr, time::Duration};

use super::{Accuracy, ProcessId};

/// A socket's identity within one backend.
///
/// The kernel's socket cookie where it can be had (Linux), unique in its network
/// namespace only before Linux 5.3; otherwise a number that the backend makes from what
/// it can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// A transport protocol, by its IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 262, the kernel's number for a multipath TCP socket.
    Mptcp,
    /// Any other.
    Other(u16),
}

impl Protocol {
    /// From the number that `socket(2)` takes.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            262 => Self::Mptcp,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Mptcp => f.write_str("MPTCP"),
            Self::Other(1) => f.write_str("ICMP"),
            Self::Other(58) => f.write_str("ICMP6"),
            Self::Other(132) => f.write_str("SCTP"),
            Self::Other(number) => write!(f, "IP-{number}"),
        }
    }
}

/// A socket's state, by the kernel's TCP state numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketState {
    /// 1; a connected UDP socket has it too.
    Established,
    /// 2
    SynSent,
    /// 3 and 12
    SynReceived,
    /// 4
    FinWait1,
    /// 5
    FinWait2,
    /// 6
    TimeWait,
    /// 7; also a UDP socket that is not connected.
    Closed,
    /// 8
    CloseWait,
    /// 9
    LastAck,
    /// 10
    Listen,
    /// 11
    Closing,
    /// A number this version does not know.
    Other(u8),
}

impl SocketState {
    /// From `sk_state`.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }

    /// The name the wire uses for it: `ss`'s states in the long spelling of `netstat`.
    #[must_use]
    pub const fn name(self, protocol: Protocol) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed if matches!(protocol, Protocol::Tcp | Protocol::Mptcp) => "CLOSE",
            Self::Closed => "UNCONN",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Other(_) => "UNKNOWN",
        }
    }
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This host connected.
    Outgoing,
    /// This host accepted.
    Incoming,
    /// A listening socket.
    Listening,
}

impl Direction {
    /// The name the wire uses for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
            Self::Listening => "listening",
        }
    }
}

/// A network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns {
    /// The kernel's cookie, unique until reboot; `None` before Linux 5.12.
    pub cookie: Option<u64>,
    /// Inode, as `/proc/PID/ns/net` and `lsns` show it.
    pub inode: u32,
}

/// Payload bytes: what send calls accepted and receive calls handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Payload {
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_bytes: u64,
}

/// IP packets with their headers, every segment of an offloaded packet counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireBytes {
    /// Received bytes, loopback included.
    pub rx_bytes: u64,
    /// Sent bytes, loopback included, retransmissions too.
    pub tx_bytes: u64,
    /// Received packets.
    pub rx_packets: u64,
    /// Sent packets.
    pub tx_packets: u64,
    /// The part of `rx_bytes` that came over loopback.
    pub loopback_rx_bytes: u64,
    /// The part of `tx_bytes` that left over loopback.
    pub loopback_tx_bytes: u64,
}

/// TCP round-trip time as the kernel estimates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// Smoothed (RFC 6298).
    pub smoothed: Duration,
    /// Mean deviation; `None` where the source has none (`nettop`).
    pub variation: Option<Duration>,
    /// Smallest of the kernel's window (5 minutes by default); `None` where the source has none.
    pub minimum: Option<Duration>,
}

/// One socket with its figures since it was first seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Socket {
    /// Which socket.
    pub id: SocketId,
    /// The namespace it is in; `None` where the backend cannot tell.
    pub netns: Option<Netns>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Local address; an IPv4-mapped one is shown as IPv4.
    pub local: SocketAddr,
    /// Remote address; `None` while not connected.
    pub remote: Option<SocketAddr>,
    /// Its state.
    pub state: SocketState,
    /// Who opened it; `None` when that was before the collector started, and for UDP.
    pub direction: Option<Direction>,
    /// The user id it was made with.
    pub uid: Option<u32>,
    /// The cgroup it was made in.
    pub cgroup_id: Option<u64>,
    /// Its owner: who made it or, for an accepted one, who first used it.
    pub owner: Option<ProcessId>,
    /// The owner's name.
    pub owner_name: Option<String>,
    /// `true` when another process than the owner moved bytes on it too.
    pub shared: bool,
    /// Payload, by all processes; `None` where not measured.
    pub payload: Option<Payload>,
    /// Packets; `None` where not measured.
    pub wire: Option<WireBytes>,
    /// TCP only, and once measured.
    pub rtt: Option<Rtt>,
    /// TCP segments sent again; `None` for other protocols.
    pub retransmits: Option<u64>,
    /// How close `payload` is to the truth.
    pub accuracy: Accuracy,
}
