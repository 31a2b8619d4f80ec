//! The detectors of a collector, and what feeds them.
//!
//! | events | from | when |
//! |---|---|---|
//! | connections | the backend's events | as they happen |
//! | DNS messages | the backend | with each reading |
//! | attempts at closed ports | the backend | with each reading |
//! | retransmissions | the sockets of a reading | with each reading |
//! | rates | the interfaces of a snapshot, whoever's | at most once a second |
//!
//! There is one set for all readers. Without a backend that sees such events there
//! is none: a host is not reported as quiet because nobody listened.

#[cfg_attr(
    not(all(feature = "ebpf", target_os = "linux")),
    allow(dead_code, reason = "only kernel programs give events")
)]
mod connections;
mod dns;
mod retransmits;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use self::connections::Watch;
use super::{
    events::{Hub, Subscription},
    lock,
    pace::Last,
};
use crate::{
    Result,
    backend::Measure,
    detect::{
        ConnectionAttempt, Detectors, DnsAsker, DnsStatistics, Event, Evicted, InterfaceRate,
        Moment, Raised, Thresholds,
    },
    error::chain,
    reading::Reading,
    wire::{InterfaceMetric, Snapshot},
};

/// Two samples of an interface are at least so far apart, or two readers that look
/// at the same burst would make it a lasting one.
const BETWEEN_RATES: Duration = Duration::from_secs(1);

/// What the detectors have found, and the DNS figures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Intelligence {
    /// The findings of the last 60 s, those included that the wire has no category for.
    pub findings: Vec<Raised>,
    /// DNS figures; `None` where the backend does not see the messages.
    pub dns: Option<DnsStatistics>,
    /// Which processes asked DNS servers, who asked most first.
    pub dns_askers: Vec<DnsAsker>,
    /// What the detectors dropped to keep memory bounded.
    pub evicted: Evicted,
}

#[derive(Debug)]
pub(super) struct Detection {
    /// Locked by the thread that gives the events, too.
    detectors: Arc<Mutex<Detectors>>,
    /// While the backend gives events of connections.
    connections: Option<Subscription>,
    /// Why it does not, although it could.
    why_not: Option<String>,
    /// Whether the running backend sees DNS.
    sees_dns: bool,
    rates: Last,
    retransmits: retransmits::Previous,
}

impl Detection {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            detectors: Arc::new(Mutex::new(Detectors::new(thresholds))),
            connections: None,
            why_not: None,
            sees_dns: false,
            rates: Last::default(),
            retransmits: retransmits::Previous::default(),
        }
    }

    /// Asks for the events of connections, once. About 20 ms.
    pub(super) fn watch(&mut self, hub: &Arc<Hub>) {
        if self.connections.is_some() || self.why_not.is_some() {
            return;
        }
        match hub.subscribe(Arc::new(Watch(Arc::clone(&self.detectors)))) {
            Ok(subscription) => self.connections = Some(subscription),
            Err(error) => self.why_not = Some(chain(&error)),
        }
    }

    /// The backend is gone.
    pub(super) fn unwatch(&mut self) {
        self.connections = None;
        self.why_not = None;
        self.sees_dns = false;
    }

    /// Why connections are not watched, although the backend has events.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    /// Takes what the backend has seen since the last time.
    pub(super) fn feed(&mut self, backend: &mut dyn Measure, hub: Option<&Hub>) -> Result<()> {
        let is_watching = self.connections.is_some();
        // Locked for one message at a time: the feed's thread takes the two in the same order.
        self.sees_dns = backend.dns(&mut |message| {
            if let Some(hub) = hub {
                hub.dns(&message);
            }
            // Else they are among those that the hub gives it to.
            if !is_watching {
                dns::observe(&self.detectors, &message);
            }
        })?;
        if let Some(hub) = hub {
            hub.flush();
        }
        backend.closed_ports(&mut |attempt| {
            let event = Event::ClosedPort(ConnectionAttempt {
                source: attempt.source.into(),
                destination: attempt.destination.ip().into(),
                port: attempt.destination.port(),
                actor: None,
            });
            lock(&self.detectors).observe(Moment::of(attempt.at), &event);
        })?;
        lock(&self.detectors).tick(Instant::now());
        Ok(())
    }

    /// Takes what a reading says of retransmissions, if anybody wants to know.
    pub(super) fn feed_reading(&mut self, reading: &Reading) {
        let mut detectors = lock(&self.detectors);
        if detectors.thresholds_mut().retransmit_storm.is_some() {
            let now = Moment::now();
            self.retransmits
                .update(reading, |event| detectors.observe(now, event));
        }
    }

    /// Takes the interfaces' rates, and fills in what is known. `seen` is how many
    /// alerts the caller has got, and is moved on.
    pub(super) fn fill(&mut self, snapshot: &mut Snapshot, seen: &mut u64) {
        if !self.sees_dns && self.connections.is_none() {
            return;
        }
        let mut detectors = lock(&self.detectors);
        let now = Moment::now();
        if self.rates.is_due(now.monotonic, BETWEEN_RATES) {
            for interface in &snapshot.interfaces {
                if let Some(rate) = rate(interface) {
                    detectors.observe(now, &Event::InterfaceRate(rate));
                }
            }
        }
        snapshot.alerts = Some(detectors.alerts_since(*seen, now.monotonic));
        *seen = detectors.alerts_raised();
        snapshot.dns_analytics = self.sees_dns.then(|| detectors.dns_analytics());
    }

    pub(super) fn intelligence(&self) -> Intelligence {
        let detectors = lock(&self.detectors);
        Intelligence {
            findings: detectors.findings(Instant::now()).cloned().collect(),
            dns: self.sees_dns.then(|| detectors.dns_statistics().clone()),
            dns_askers: detectors.dns_askers(),
            evicted: detectors.evicted(),
        }
    }
}

/// `None` on the first sample, which has no rates.
fn rate(interface: &InterfaceMetric) -> Option<InterfaceRate<'_>> {
    Some(InterfaceRate {
        interface: &interface.name,
        rx_rate: interface.rx_rate? as u64,
        tx_rate: interface.tx_rate? as u64,
    })
}
