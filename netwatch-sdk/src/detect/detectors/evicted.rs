//! What did not fit.

use serde::Serialize;

/// What was dropped to keep memory bounded, since the detectors started.
///
/// All zero means that nothing was missed for want of room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Evicted {
    /// Sources whose ports were counted.
    pub port_scan_sources: u64,
    /// Flows whose intervals were weighed.
    pub beacon_flows: u64,
    /// Parent domains whose queries were counted.
    pub dns_domains: u64,
    /// Open DNS queries.
    pub dns_queries: u64,
    /// Domains that lost their counter to another, see `top_domains`.
    pub top_domains: u64,
    /// Processes whose queries were counted.
    pub dns_askers: u64,
    /// Interfaces.
    pub interfaces: u64,
    /// Peers whose retransmissions were counted.
    pub retransmit_peers: u64,
    /// Processes and sources whose failures were counted.
    pub failing_origins: u64,
    /// Active findings.
    pub findings: u64,
}

impl Evicted {
    /// `true` when nothing was dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
        time::Duration,
    };

    use crate::detect::{
        ConnectionAttempt, Detectors, DnsQuery, Event, Host, InterfaceRate, Moment, Retransmits,
        detectors::sample::{all_on, later},
    };

    #[test]
    fn a_flood_of_a_million_random_events_is_bounded_and_counted() {
        let start = Moment::now();
        let mut detectors = Detectors::new(all_on());
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let (mut attempts, mut queries) = (0u64, 0u64);
        for n in 0..1_000_000u64 {
            let now = later(start, Duration::from_micros(n * 10));
            let (bits, more) = (random(), random());
            let source = Host::from(IpAddr::from(Ipv6Addr::from_bits(u128::from(bits))));
            let destination = Host::from(IpAddr::from(Ipv4Addr::from_bits(more as u32)));
            let port = (more >> 32) as u16;
            let name = format!("{bits:x}.d{more:x}.com");
            let event = match n % 4 {
                0 => {
                    attempts += 1;
                    Event::ConnectionAttempt(ConnectionAttempt {
                        source,
                        destination,
                        port,
                        actor: None,
                    })
                }
                1 => {
                    queries += 1;
                    Event::DnsQuery(DnsQuery {
                        txid: port,
                        client: source,
                        client_port: None,
                        server: destination,
                        name: &name,
                        record_type: None,
                        actor: None,
                        socket: None,
                    })
                }
                2 => Event::InterfaceRate(InterfaceRate {
                    interface: &name,
                    rx_rate: bits,
                    tx_rate: more,
                }),
                _ => Event::Retransmits(Retransmits {
                    remote: source,
                    retransmitted: bits % 200,
                    sent: None,
                    actor: None,
                }),
            };
            detectors.observe(now, &event);
        }
        let evicted = detectors.evicted();
        assert_eq!(
            evicted.port_scan_sources,
            attempts - crate::detect::port_scan::SOURCES as u64
        );
        assert_eq!(
            evicted.beacon_flows,
            attempts - crate::detect::beacon::FLOWS as u64
        );
        assert_eq!(
            evicted.dns_domains,
            queries - crate::detect::dns_tunnel::PARENTS as u64
        );
        assert_eq!(
            evicted.top_domains,
            queries - crate::detect::top_names::NAMES as u64
        );
        assert_eq!(detectors.dns_statistics().queries, queries);
        assert!(detectors.findings(start.monotonic).count() <= crate::detect::findings::ACTIVE);
        assert!(evicted.findings > 0);
        assert!(!evicted.is_empty());
    }
}
