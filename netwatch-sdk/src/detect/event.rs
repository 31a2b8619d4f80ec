//! What the detectors are fed.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::reading::{Pid, SocketId};

/// Longest name kept of a host that is no address: the longest DNS name.
const NAME_BYTES: usize = 255;

/// When something happened, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For windows, intervals and latencies.
    pub monotonic: Instant,
    /// For people.
    pub wall: DateTime<Utc>,
}

impl Moment {
    /// A moment of the past, by the second clock.
    #[cfg_attr(
        not(all(feature = "ebpf", target_os = "linux")),
        allow(dead_code, reason = "only kernel programs give events")
    )]
    pub(crate) fn of_wall(at: DateTime<Utc>) -> Self {
        let now = Self::now();
        let age = now.wall.signed_duration_since(at).to_std();
        Self {
            monotonic: age
                .ok()
                .and_then(|age| now.monotonic.checked_sub(age))
                .unwrap_or(now.monotonic),
            wall: at,
        }
    }

    /// A moment of the past, by the first clock.
    pub(crate) fn of(at: Instant) -> Self {
        let now = Self::now();
        let age = TimeDelta::from_std(now.monotonic.saturating_duration_since(at)).ok();
        Self {
            monotonic: at,
            wall: age
                .and_then(|age| now.wall.checked_sub_signed(age))
                .unwrap_or(now.wall),
        }
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: Utc::now(),
        }
    }
}

/// One end of a connection.
///
/// An address where there is one. Sources that report text may send something
/// else (`*`, `fe80::1%eth0`); that is kept as it is, and compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address, an IPv4-mapped one as IPv4.
    Address(IpAddr),
    /// Anything else, cut at 255 bytes.
    Name(Arc<str>),
}

impl Host {
    /// From text. Never fails: what is no address is a name.
    ///
    /// A zone (`%eth0`) is dropped unless the address is link-local, where two
    /// zones are two hosts.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let (address, zone) = text.split_once('%').unwrap_or((text, ""));
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) if !zone.is_empty() && v6.is_unicast_link_local() => {
                Self::Name(cut(text).into())
            }
            Ok(address) => address.into(),
            Err(_) => Self::Name(cut(text).into()),
        }
    }

    /// With a port: `10.0.0.1:443`, `[::1]:443`.
    pub(crate) const fn with_port(&self, port: u16) -> HostPort<'_> {
        HostPort { host: self, port }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NAME_BYTES))
        .unwrap_or(text)
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(&super::text::clean(name, NAME_BYTES)),
        }
    }
}

pub(crate) struct HostPort<'a> {
    host: &'a Host,
    port: u16,
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Name(name) if is_scoped(name) => write!(f, "[{host}]:{port}"),
            Host::Address(_) | Host::Name(_) => write!(f, "{host}:{port}"),
        }
    }
}

fn is_scoped(name: &str) -> bool {
    name.split_once('%')
        .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
}

/// The process behind an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// Its pid.
    pub pid: Pid,
    /// Its name.
    pub name: &'a str,
}

/// A connection was tried, by this host or with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionAttempt<'a> {
    /// Who connects.
    pub source: Host,
    /// To whom.
    pub destination: Host,
    /// To which port.
    pub port: u16,
    /// The process on this host, where known.
    pub actor: Option<Actor<'a>>,
}

/// Why a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The peer answered with a reset.
    Refused,
    /// Nobody answered.
    TimedOut,
    /// A router or this host said that there is no way there.
    Unreachable,
    /// Established, then reset by the peer.
    Reset,
}

/// A connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFailed<'a> {
    /// What was tried.
    pub attempt: ConnectionAttempt<'a>,
    /// Why it failed.
    pub failure: Failure,
}

/// The socket of a DNS client on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSocket {
    /// Which. An answer must arrive at the socket that asked.
    pub id: SocketId,
    /// Its process answers DNS as well: it may ask because it was asked.
    pub forwards: bool,
}

/// A DNS server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsQuery<'a> {
    /// The message's id.
    pub txid: u16,
    /// Who asks.
    pub client: Host,
    /// From which port, where known.
    pub client_port: Option<u16>,
    /// Who is asked.
    pub server: Host,
    /// The name, as text.
    pub name: &'a str,
    /// The record type's number, where known.
    pub record_type: Option<u16>,
    /// The process on this host that asks, where known.
    pub actor: Option<Actor<'a>>,
    /// Its socket, where known. Known for both query and response, or for neither.
    pub socket: Option<ClientSocket>,
}

/// A DNS server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsResponse<'a> {
    /// The message's id.
    pub txid: u16,
    /// Who asked.
    pub client: Host,
    /// From which port, where known. Known for both query and response, or for neither.
    pub client_port: Option<u16>,
    /// Who answers.
    pub server: Host,
    /// The response code of the header.
    pub rcode: u8,
    /// The name the response repeats, where known; it must match the query's.
    pub name: Option<&'a str>,
    /// The record type it repeats, where known.
    pub record_type: Option<u16>,
    /// The process on this host that asked, where known.
    pub actor: Option<Actor<'a>>,
    /// Its socket, where known.
    pub socket: Option<ClientSocket>,
}

/// A UDP DNS message, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsMessage<'a> {
    /// The sender.
    pub source: Host,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver.
    pub destination: Host,
    /// The receiver's port.
    pub destination_port: u16,
    /// The UDP payload; the first bytes are enough if they reach past the question.
    pub payload: &'a [u8],
    /// The client's process on this host, where known.
    pub actor: Option<Actor<'a>>,
    /// The client's socket on this host, where known.
    pub socket: Option<ClientSocket>,
}

/// How fast an interface is, as sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceRate<'a> {
    /// Its name.
    pub interface: &'a str,
    /// Receiving, bytes a second.
    pub rx_rate: u64,
    /// Sending, bytes a second.
    pub tx_rate: u64,
}

/// Segments sent to one peer since the previous such event about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retransmits<'a> {
    /// The peer.
    pub remote: Host,
    /// Segments sent again.
    pub retransmitted: u64,
    /// All segments sent, those included; `None` where not measured.
    pub sent: Option<u64>,
    /// The process on this host, where known.
    pub actor: Option<Actor<'a>>,
}

/// One thing that happened on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A connection was tried.
    ConnectionAttempt(ConnectionAttempt<'a>),
    /// A port of this host was tried that nobody has: by TCP, whatever the first segment
    /// was, or by UDP. Shown to the port scan detector only.
    ClosedPort(ConnectionAttempt<'a>),
    /// A connection failed.
    ConnectionFailed(ConnectionFailed<'a>),
    /// A DNS server was asked.
    DnsQuery(DnsQuery<'a>),
    /// A DNS server answered.
    DnsResponse(DnsResponse<'a>),
    /// A DNS message that is still to be read.
    DnsMessage(DnsMessage<'a>),
    /// An interface was sampled.
    InterfaceRate(InterfaceRate<'a>),
    /// Segments were sent, some of them again.
    Retransmits(Retransmits<'a>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_the_same_host_however_it_is_written() {
        let v4 = Host::from_text("10.0.0.1");
        assert_eq!(v4, Host::from_text("::ffff:10.0.0.1"));
        assert_eq!(v4, Host::from_text("10.0.0.1%lo"));
        assert_eq!(
            Host::from_text("2001:DB8::1"),
            Host::from_text("2001:db8:0::1")
        );
    }

    #[test]
    fn link_local_addresses_differ_by_zone() {
        let eth0 = Host::from_text("fe80::1%eth0");
        assert_ne!(eth0, Host::from_text("fe80::1%eth1"));
        assert_eq!(eth0.with_port(80).to_string(), "[fe80::1%eth0]:80");
    }

    #[test]
    fn ports_follow_addresses_as_they_are_commonly_written() {
        assert_eq!(
            Host::from_text("::1").with_port(443).to_string(),
            "[::1]:443"
        );
        assert_eq!(
            Host::from_text("10.0.0.1").with_port(443).to_string(),
            "10.0.0.1:443"
        );
        assert_eq!(Host::from_text("*").with_port(53).to_string(), "*:53");
    }

    proptest! {
        #[test]
        fn any_text_is_a_host_of_bounded_size(text in ".{0,400}") {
            if let Host::Name(name) = Host::from_text(&text) {
                prop_assert!(name.len() <= NAME_BYTES);
                prop_assert!(text.starts_with(&*name));
            }
        }
    }
}
