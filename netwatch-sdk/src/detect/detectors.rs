//! All detectors together: each event goes to those that it concerns.

use std::{collections::VecDeque, time::Instant};

use serde::Serialize;

use super::{
    allow::Facts,
    bandwidth::Bandwidth,
    beacon::Beacon,
    dns_statistics::{Dns, DnsStatistics, Repeats},
    dns_tunnel::DnsTunnel,
    domain,
    event::{DnsMessage, DnsQuery, DnsResponse, Event, Moment},
    failed_connections::FailedConnections,
    finding::{Finding, Signal},
    findings::{Findings, Raised},
    port_scan::PortScan,
    retransmit_storm::RetransmitStorm,
    thresholds::Thresholds,
};
use crate::{
    parse::dns::{Question, parse_dns},
    wire::{Alert, DnsAnalytics},
};

/// The port DNS servers answer on.
const DNS_PORT: u16 = 53;

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
    findings: Findings,
}

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
                let facts = Facts {
                    actor: event.actor,
                    source: Some(&event.source),
                    destination: Some(&event.destination),
                    port: Some(event.port),
                    ..Facts::default()
                };
                let scan = self
                    .shown(Signal::PortScan, &facts, self.thresholds.port_scan)
                    .and_then(|threshold| self.port_scan.observe(at, event, threshold));
                let beacon = self
                    .shown(Signal::Beaconing, &facts, self.thresholds.beacon)
                    .and_then(|threshold| self.beacon.observe(at, event, threshold));
                self.raise(now, scan);
                self.raise(now, beacon);
            }
            Event::ConnectionFailed(event) => {
                let facts = Facts {
                    actor: event.actor,
                    source: Some(&event.source),
                    destination: Some(&event.destination),
                    port: Some(event.port),
                    ..Facts::default()
                };
                let found = self
                    .shown(
                        Signal::FailedConnections,
                        &facts,
                        self.thresholds.failed_connections,
                    )
                    .and_then(|threshold| self.failed_connections.observe(at, event, threshold));
                self.raise(now, found);
            }
            Event::DnsQuery(event) => self.dns_query(now, event),
            Event::DnsResponse(event) => self.dns.response(at, event),
            Event::DnsMessage(event) => self.dns_message(now, event),
            Event::InterfaceRate(event) => {
                let facts = Facts {
                    interface: Some(event.interface),
                    ..Facts::default()
                };
                let found = self
                    .shown(Signal::Bandwidth, &facts, self.thresholds.bandwidth)
                    .and_then(|threshold| self.bandwidth.observe(at, *event, threshold));
                self.raise(now, found);
            }
            Event::Retransmits(event) => {
                let facts = Facts {
                    actor: event.actor,
                    destination: Some(&event.remote),
                    ..Facts::default()
                };
                let found = self
                    .shown(
                        Signal::RetransmitStorm,
                        &facts,
                        self.thresholds.retransmit_storm,
                    )
                    .and_then(|threshold| self.retransmit_storm.observe(at, event, threshold));
                self.raise(now, found);
            }
        }
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

    fn dns_query(&mut self, now: Moment, event: &DnsQuery<'_>) {
        let name = domain::fold(event.name);
        if !self.dns.query(now.monotonic, event, &name) {
            return;
        }
        let facts = Facts {
            actor: event.actor,
            source: Some(&event.client),
            destination: Some(&event.server),
            name: Some(&name),
            ..Facts::default()
        };
        let found = self
            .shown(Signal::DnsTunnel, &facts, self.thresholds.dns_tunnel)
            .and_then(|threshold| {
                self.dns_tunnel
                    .observe(now.monotonic, event, &name, threshold)
            });
        self.raise(now, found);
    }

    /// The server is the end with port 53; of two such ends, the one that the
    /// message's own direction says.
    fn dns_message(&mut self, now: Moment, event: &DnsMessage<'_>) {
        let Ok(message) = parse_dns(event.payload) else {
            self.dns.statistics.malformed += 1;
            return;
        };
        let expected = if message.is_response {
            event.source_port
        } else {
            event.destination_port
        };
        // A response need not repeat the question: one to a malformed query does not.
        let nothing_asked = message.question.is_none() && !message.is_response;
        if message.opcode != 0 || nothing_asked || expected != DNS_PORT {
            self.dns.statistics.other += 1;
            return;
        }
        if message.is_response {
            let question = message.question.as_ref();
            self.dns.response(
                now.monotonic,
                &DnsResponse {
                    txid: message.id,
                    client: event.destination.clone(),
                    client_port: Some(event.destination_port),
                    server: event.source.clone(),
                    rcode: message.rcode,
                    name: question.map(|question| question.name.as_str()),
                    record_type: question.map(|question| question.record_type),
                },
            );
        } else if let Some(Question { name, record_type }) = &message.question {
            self.dns_query(
                now,
                &DnsQuery {
                    txid: message.id,
                    client: event.source.clone(),
                    client_port: Some(event.source_port),
                    server: event.destination.clone(),
                    name,
                    record_type: Some(*record_type),
                    actor: event.actor,
                },
            );
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

    /// What was dropped to keep memory bounded.
    #[must_use]
    pub const fn evicted(&self) -> Evicted {
        Evicted {
            port_scan_sources: self.port_scan.evicted(),
            beacon_flows: self.beacon.evicted(),
            dns_domains: self.dns_tunnel.evicted(),
            dns_queries: self.dns.statistics.forgotten,
            top_domains: self.dns.domains_replaced(),
            interfaces: self.bandwidth.evicted(),
            retransmit_peers: self.retransmit_storm.evicted(),
            failing_origins: self.failed_connections.evicted(),
            findings: self.findings.evicted(),
        }
    }
}
