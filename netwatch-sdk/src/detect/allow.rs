//! What an operator knows to be harmless.

use std::net::IpAddr;

use super::{
    event::{Actor, ConnectionAttempt, ConnectionFailed, Host, InterfaceRate, Retransmits},
    finding::Signal,
};

/// A rule for traffic that a detector is not shown.
///
/// All conditions given must hold. One that the event cannot answer does not
/// hold: a rule about a process does not match an event whose process is not
/// known. A rule without any condition matches nothing.
///
/// ```
/// use netwatch_sdk::detect::{Allow, Prefix, Signal};
///
/// // The health check of the load balancers, every 10 s.
/// let rule = Allow {
///     signal: Some(Signal::Beaconing),
///     source: Some(Prefix::new([10, 0, 8, 0], 24)),
///     port: Some(8080),
///     ..Allow::default()
/// };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// Only for this detector; `None` for all.
    pub signal: Option<Signal>,
    /// The process's name.
    pub process: Option<String>,
    /// The connection's source, or the DNS client.
    pub source: Option<Prefix>,
    /// The connection's destination, the DNS server, or the peer of retransmissions.
    pub destination: Option<Prefix>,
    /// The destination port.
    pub port: Option<u16>,
    /// The DNS name, or a domain it lies in. Case does not matter.
    pub domain: Option<String>,
    /// The interface.
    pub interface: Option<String>,
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The block in which the first `bits` bits are those of `address`.
    #[must_use]
    pub fn new(address: impl Into<IpAddr>, bits: u8) -> Self {
        Self {
            address: address.into(),
            bits,
        }
    }

    /// `true` when `address` lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, address, width) = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (
                u128::from(network.to_bits()),
                u128::from(address.to_bits()),
                32,
            ),
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits(), address.to_bits(), 128)
            }
            _ => return false,
        };
        let host_bits = width - u32::from(self.bits).min(width);
        // Shifting by all 128 bits is no shift in Rust: there is nothing left to compare.
        (network ^ address).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// What an event can answer a rule with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) actor: Option<Actor<'a>>,
    pub(crate) source: Option<&'a Host>,
    pub(crate) destination: Option<&'a Host>,
    pub(crate) port: Option<u16>,
    pub(crate) name: Option<&'a str>,
    pub(crate) interface: Option<&'a str>,
}

impl<'a> From<&'a ConnectionAttempt<'a>> for Facts<'a> {
    fn from(event: &'a ConnectionAttempt<'a>) -> Self {
        Self {
            actor: event.actor,
            source: Some(&event.source),
            destination: Some(&event.destination),
            port: Some(event.port),
            ..Self::default()
        }
    }
}

impl<'a> From<&'a ConnectionFailed<'a>> for Facts<'a> {
    fn from(event: &'a ConnectionFailed<'a>) -> Self {
        (&event.attempt).into()
    }
}

impl<'a> From<&'a Retransmits<'a>> for Facts<'a> {
    fn from(event: &'a Retransmits<'a>) -> Self {
        Self {
            actor: event.actor,
            destination: Some(&event.remote),
            ..Self::default()
        }
    }
}

impl<'a> From<&InterfaceRate<'a>> for Facts<'a> {
    fn from(event: &InterfaceRate<'a>) -> Self {
        Self {
            interface: Some(event.interface),
            ..Self::default()
        }
    }
}

impl Allow {
    pub(crate) fn matches(&self, signal: Signal, facts: &Facts<'_>) -> bool {
        let conditions = [
            self.process
                .as_ref()
                .map(|process| facts.actor.is_some_and(|actor| actor.name == process)),
            self.source.map(|prefix| lies_in(prefix, facts.source)),
            self.destination
                .map(|prefix| lies_in(prefix, facts.destination)),
            self.port.map(|port| facts.port == Some(port)),
            self.domain
                .as_ref()
                .map(|domain| facts.name.is_some_and(|name| is_within(name, domain))),
            self.interface
                .as_ref()
                .map(|interface| facts.interface == Some(interface)),
        ];
        self.signal.is_none_or(|only| only == signal)
            && conditions.iter().any(Option::is_some)
            && conditions.iter().all(|holds| holds.unwrap_or(true))
    }
}

fn lies_in(prefix: Prefix, host: Option<&Host>) -> bool {
    matches!(host, Some(Host::Address(address)) if prefix.contains(*address))
}

fn is_within(name: &str, domain: &str) -> bool {
    let name = name.trim_end_matches('.').as_bytes();
    let domain = domain.trim_matches('.').as_bytes();
    let Some((above, tail)) = name
        .len()
        .checked_sub(domain.len())
        .and_then(|at| name.split_at_checked(at))
    else {
        return false;
    };
    tail.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::Pid;

    #[test]
    fn a_prefix_holds_its_block_and_nothing_else() {
        let block = Prefix::new([10, 0, 8, 0], 22);
        assert!(block.contains([10, 0, 11, 255].into()));
        assert!(!block.contains([10, 0, 12, 0].into()));
        assert!(!block.contains("::1".parse().unwrap()));
        assert!(Prefix::new([1, 2, 3, 4], 0).contains([9, 9, 9, 9].into()));
        assert!(
            Prefix::new("::".parse::<IpAddr>().unwrap(), 0).contains("ff02::1".parse().unwrap())
        );
        assert!(!Prefix::new([1, 2, 3, 4], 200).contains([1, 2, 3, 5].into()));
    }

    #[test]
    fn a_domain_holds_itself_and_what_is_below_on_label_borders() {
        assert!(is_within("a.Example.com.", "example.COM"));
        assert!(is_within("example.com", "example.com."));
        assert!(!is_within("badexample.com", "example.com"));
        assert!(!is_within("com", "example.com"));
    }

    #[test]
    fn all_conditions_must_hold_and_none_at_all_is_no_match() {
        let host = Host::from_text("10.0.0.1");
        let facts = Facts {
            actor: Some(Actor {
                pid: Pid(1),
                name: "kubelet",
            }),
            source: Some(&host),
            port: Some(80),
            ..Facts::default()
        };
        let rule = Allow {
            process: Some("kubelet".into()),
            port: Some(80),
            ..Allow::default()
        };
        assert!(rule.matches(Signal::Beaconing, &facts));
        let other_port = Allow {
            port: Some(81),
            ..rule.clone()
        };
        assert!(!other_port.matches(Signal::Beaconing, &facts));
        let other_signal = Allow {
            signal: Some(Signal::PortScan),
            ..rule
        };
        assert!(!other_signal.matches(Signal::Beaconing, &facts));
        assert!(!Allow::default().matches(Signal::Beaconing, &facts));
    }

    proptest! {
        #[test]
        fn every_block_holds_its_own_address(bits in any::<u8>(), v4 in any::<u32>(), v6 in any::<u128>()) {
            let v4 = std::net::Ipv4Addr::from_bits(v4);
            let v6 = std::net::Ipv6Addr::from_bits(v6);
            prop_assert!(Prefix::new(v4, bits).contains(v4.into()));
            prop_assert!(Prefix::new(v6, bits).contains(v6.into()));
        }
    }
}
