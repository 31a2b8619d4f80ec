//! All detectors together: each event goes to those that it concerns.

#[cfg(test)]
mod browsing;
mod evicted;
mod lookups;
#[cfg(test)]
mod sample;

use std::{collections::VecDeque, time::Instant};

pub use self::evicted::Evicted;
use super::{
    allow::Facts,
    bandwidth::Bandwidth,
    beacon::Beacon,
    dns_askers::{DnsAsker, DnsAskers},
    dns_statistics::{Dns, DnsStatistics, Repeats},
    dns_tunnel::DnsTunnel,
    event::{ConnectionAttempt, Event, Moment},
    failed_connections::FailedConnections,
    finding::{Finding, Signal},
    findings::{Findings, Raised},
    port_scan::PortScan,
    retransmit_storm::RetransmitStorm,
    thresholds::Thresholds,
};
use crate::wire::{Alert, DnsAnalytics};

/// All detectors with their state.
#[derive(Debug)]
pub struct Detectors {
    thresholds: Thresholds,
    port_scan: PortScan,
    beacon: Beacon,
    dns_tunnel: DnsTunnel,
    bandwidth: Bandwidth,
    retransmit_storm: RetransmitStorm,
    failed_connections: FailedConnections,
    dns: Dns,
    dns_askers: DnsAskers,
    findings: Findings,
}

impl Detectors {
    /// With nothing seen yet.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self::with_repeats(thresholds, Repeats::Apart)
    }

    pub(crate) fn with_repeats(thresholds: Thresholds, repeats: Repeats) -> Self {
        Self {
            thresholds,
            port_scan: PortScan::new(),
            beacon: Beacon::new(),
            dns_tunnel: DnsTunnel::new(),
            bandwidth: Bandwidth::new(),
            retransmit_storm: RetransmitStorm::new(),
            failed_connections: FailedConnections::new(),
            dns: Dns::new(repeats),
            dns_askers: DnsAskers::new(),
            findings: Findings::default(),
        }
    }

    /// The settings. What was counted so far stays when they change.
    pub const fn thresholds_mut(&mut self) -> &mut Thresholds {
        &mut self.thresholds
    }

    /// Takes in one event. Events should come in the order of time; one that is
    /// a little late is taken as it is.
    pub fn observe(&mut self, now: Moment, event: &Event<'_>) {
        let at = now.monotonic;
        match event {
            Event::ConnectionAttempt(event) => {
                self.port_tried(now, event);
                let found = self
                    .shown(Signal::Beaconing, &event.into(), self.thresholds.beacon)
                    .and_then(|threshold| self.beacon.observe(at, event, threshold));
                self.raise(now, found);
            }
            Event::ClosedPort(event) => self.port_tried(now, event),
            Event::ConnectionFailed(event) => {
                let found = self
                    .shown(
                        Signal::FailedConnections,
                        &event.into(),
                        self.thresholds.failed_connections,
                    )
                    .and_then(|threshold| self.failed_connections.observe(at, event, threshold));
                self.raise(now, found);
            }
            Event::DnsQuery(event) => self.dns_query(now, event),
            Event::DnsResponse(event) => self.dns_response(now, event),
            Event::DnsMessage(event) => self.dns_message(now, event),
            Event::InterfaceRate(event) => {
                let found = self
                    .shown(Signal::Bandwidth, &event.into(), self.thresholds.bandwidth)
                    .and_then(|threshold| self.bandwidth.observe(at, *event, threshold));
                self.raise(now, found);
            }
            Event::Retransmits(event) => {
                let found = self
                    .shown(
                        Signal::RetransmitStorm,
                        &event.into(),
                        self.thresholds.retransmit_storm,
                    )
                    .and_then(|threshold| self.retransmit_storm.observe(at, event, threshold));
                self.raise(now, found);
            }
        }
    }

    fn port_tried(&mut self, now: Moment, event: &ConnectionAttempt<'_>) {
        let found = self
            .shown(Signal::PortScan, &event.into(), self.thresholds.port_scan)
            .and_then(|threshold| self.port_scan.observe(now.monotonic, event, threshold));
        self.raise(now, found);
    }

    /// Counts a TCP connection that this host tried to open to a DNS server.
    #[cfg_attr(
        not(all(feature = "ebpf", target_os = "linux")),
        allow(dead_code, reason = "only kernel programs give events")
    )]
    pub(crate) const fn tcp_to_dns_server(&mut self) {
        self.dns.statistics.tcp_connections += 1;
    }

    /// The threshold, unless a rule keeps the event from that detector.
    fn shown<T>(&self, signal: Signal, facts: &Facts<'_>, threshold: Option<T>) -> Option<T> {
        threshold.filter(|_| {
            !self
                .thresholds
                .allow
                .iter()
                .any(|rule| rule.matches(signal, facts))
        })
    }

    fn raise(&mut self, now: Moment, finding: Option<Finding>) {
        if let Some(finding) = finding {
            self.findings.raise(now, finding);
        }
    }

    /// Forgets what is too old to matter, which events do as well where they
    /// touch it. About every 30 s is enough.
    pub fn tick(&mut self, now: Instant) {
        let Self { thresholds, .. } = self;
        self.port_scan
            .prune(now, thresholds.port_scan.unwrap_or_default().window);
        self.beacon
            .prune(now, thresholds.beacon.unwrap_or_default().silence);
        self.dns_tunnel
            .prune(now, thresholds.dns_tunnel.unwrap_or_default().window);
        self.retransmit_storm
            .prune(now, thresholds.retransmit_storm.unwrap_or_default().window);
        self.failed_connections.prune(
            now,
            thresholds.failed_connections.unwrap_or_default().window,
        );
        self.dns.expire(now);
        self.findings.age(now);
    }

    /// The findings of the last 60 s, oldest first; at most 1,024.
    pub fn findings(&self, now: Instant) -> impl Iterator<Item = &Raised> {
        self.findings.active(now)
    }

    /// The same as the wire has them, without those it has no category for.
    #[must_use]
    pub fn alerts(&self, now: Instant) -> Vec<Alert> {
        self.findings(now)
            .filter_map(|raised| raised.finding.to_alert(raised.at.wall))
            .collect()
    }

    /// How many alerts were raised so far, for [`alerts_since`](Self::alerts_since).
    #[must_use]
    pub const fn alerts_raised(&self) -> u64 {
        self.findings.raised()
    }

    /// The [`alerts`](Self::alerts), and before them those of the last 100 that are over
    /// but were raised after the first `raised`.
    #[must_use]
    pub fn alerts_since(&self, raised: u64, now: Instant) -> Vec<Alert> {
        let active = self.alerts(now);
        let over = |alert: &&Alert| !active.contains(alert);
        let mut alerts: Vec<Alert> = self.findings.since(raised).filter(over).cloned().collect();
        alerts.extend(active);
        alerts
    }

    /// The last 100 alerts, oldest first, active or not.
    #[must_use]
    pub const fn history(&self) -> &VecDeque<Alert> {
        self.findings.history()
    }

    /// DNS figures as the wire has them. Lists the registered domains most
    /// asked for, which costs a sort of 1,000 names.
    #[must_use]
    pub fn dns_analytics(&self) -> DnsAnalytics {
        self.dns.analytics()
    }

    /// All DNS figures.
    #[must_use]
    pub const fn dns_statistics(&self) -> &DnsStatistics {
        &self.dns.statistics
    }

    /// Which processes asked DNS servers, who asked most first.
    #[must_use]
    pub fn dns_askers(&self) -> Vec<DnsAsker> {
        self.dns_askers.all()
    }

    /// What was dropped to keep memory bounded.
    #[must_use]
    pub const fn evicted(&self) -> Evicted {
        Evicted {
            port_scan_sources: self.port_scan.evicted(),
            beacon_flows: self.beacon.evicted(),
            dns_domains: self.dns_tunnel.evicted(),
            dns_queries: self.dns.statistics.forgotten,
            top_domains: self.dns.domains_replaced(),
            dns_askers: self.dns_askers.evicted(),
            interfaces: self.bandwidth.evicted(),
            retransmit_peers: self.retransmit_storm.evicted(),
            failing_origins: self.failed_connections.evicted(),
            findings: self.findings.evicted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        sample::{all_on, later, message, to_resolver},
        *,
    };
    use crate::{
        detect::{Actor, Allow, ConnectionFailed, Failure, Host, Prefix, Retransmits},
        reading::Pid,
        wire::AlertCategory,
    };

    #[test]
    fn an_alert_that_is_over_is_shown_to_who_has_not_seen_it() {
        let start = Moment::now();
        let mut detectors = Detectors::new(Thresholds::default());
        let name = "b".repeat(60);
        for (txid, seconds) in [(1, 0), (2, 100)] {
            let message = message(txid, 0x0100, &format!("{name}.{name}.long{txid}.test"));
            detectors.observe(
                later(start, Duration::from_secs(seconds)),
                &to_resolver(&message),
            );
        }
        let now = start.monotonic + Duration::from_secs(110);
        let shown = |raised| -> Vec<String> {
            let alerts = detectors.alerts_since(raised, now);
            alerts.into_iter().map(|alert| alert.message).collect()
        };
        assert_eq!(detectors.alerts_raised(), 2);
        assert_eq!(shown(0).len(), 2, "{:?}", shown(0));
        assert_eq!(shown(1), shown(2));
        assert!(shown(1)[0].contains("long2.test"), "{:?}", shown(1));
        assert_eq!(detectors.alerts(now).len(), 1);
    }

    /// A check of port 8080 every 10 s, for 5 minutes.
    fn health_check(detectors: &mut Detectors, start: Moment) {
        for n in 0..30 {
            detectors.observe(
                later(start, Duration::from_secs(10 * n)),
                &Event::ConnectionAttempt(ConnectionAttempt {
                    source: Host::from_text("10.0.8.4"),
                    destination: Host::from_text("10.0.9.1"),
                    port: 8080,
                    actor: Some(Actor {
                        pid: Pid(9),
                        name: "haproxy",
                    }),
                }),
            );
        }
    }

    #[test]
    fn a_health_check_is_reported_unless_a_rule_allows_it() {
        let start = Moment::now();
        let mut detectors = Detectors::new(Thresholds::default());
        health_check(&mut detectors, start);
        assert_eq!(detectors.history()[0].category, AlertCategory::Beaconing);
        assert_eq!(
            detectors.history()[0].message,
            "Regular connections from 10.0.8.4 to 10.0.9.1:8080 by haproxy (pid 9)"
        );
        assert_eq!(
            detectors.history()[0].timestamp,
            start.wall + Duration::from_secs(40)
        );
        let rules = [
            Allow {
                process: Some("haproxy".into()),
                ..Allow::default()
            },
            Allow {
                destination: Some(Prefix::new([10, 0, 0, 0], 8)),
                port: Some(8080),
                ..Allow::default()
            },
            Allow {
                signal: Some(Signal::Beaconing),
                source: Some(Prefix::new([10, 0, 8, 4], 32)),
                ..Allow::default()
            },
        ];
        for rule in rules {
            let mut detectors = Detectors::new(Thresholds {
                allow: vec![rule.clone()],
                ..Thresholds::default()
            });
            health_check(&mut detectors, start);
            assert!(detectors.history().is_empty(), "{rule:?}");
        }
    }

    #[test]
    fn a_detector_without_a_threshold_is_off() {
        let start = Moment::now();
        let mut detectors = Detectors::new(Thresholds {
            beacon: None,
            ..Thresholds::default()
        });
        health_check(&mut detectors, start);
        assert!(detectors.history().is_empty());
        for _ in 0..1_000 {
            detectors.observe(
                start,
                &Event::ConnectionFailed(ConnectionFailed {
                    attempt: ConnectionAttempt {
                        source: Host::from_text("10.0.0.1"),
                        destination: Host::from_text("10.0.0.2"),
                        port: 1,
                        actor: None,
                    },
                    failure: Failure::TimedOut,
                }),
            );
            detectors.observe(
                start,
                &Event::Retransmits(Retransmits {
                    remote: Host::from_text("10.0.0.2"),
                    retransmitted: 100,
                    sent: None,
                    actor: None,
                }),
            );
        }
        assert_eq!(
            detectors.findings(start.monotonic).count(),
            0,
            "off by default"
        );
    }

    #[test]
    fn signals_without_a_category_are_findings_and_no_alerts() {
        let now = Moment::now();
        let mut detectors = Detectors::new(all_on());
        detectors.observe(
            now,
            &Event::Retransmits(Retransmits {
                remote: Host::from_text("10.0.0.2"),
                retransmitted: 100,
                sent: None,
                actor: None,
            }),
        );
        let signals: Vec<_> = detectors
            .findings(now.monotonic)
            .map(|raised| raised.finding.signal)
            .collect();
        assert_eq!(signals, [Signal::RetransmitStorm]);
        assert_eq!(detectors.alerts(now.monotonic), []);
    }
}
