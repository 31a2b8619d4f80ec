//! The detectors of a collector, and what feeds them.
//!
//! | events | from | when |
//! |---|---|---|
//! | DNS messages | the backend | with each reading |
//! | retransmissions | the sockets of a reading | with each reading |
//! | rates | the interfaces of a snapshot, whoever's | at most once a second |
//!
//! There is one set for all readers. Without a backend that sees such events there
//! is none: a host is not reported as quiet because nobody listened.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::pace::Last;
use crate::{
    Result,
    backend::Measure,
    detect::{
        Actor, ClientSocket, Detectors, DnsAsker, DnsMessage, DnsStatistics, Event, Evicted,
        InterfaceRate, Moment, Raised, Retransmits, Thresholds,
    },
    reading::{Pid, Reading, Socket, SocketId, dns::DnsDatagram},
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
    detectors: Detectors,
    /// Whether the running backend sees DNS.
    sees_dns: bool,
    rates: Last,
    /// Segments sent again and sent, by socket, at the previous reading.
    sent: HashMap<SocketId, (u64, Option<u64>)>,
}

impl Detection {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            detectors: Detectors::new(thresholds),
            sees_dns: false,
            rates: Last::default(),
            sent: HashMap::new(),
        }
    }

    /// Takes what the backend has seen since the last time.
    pub(super) fn feed(&mut self, backend: &mut dyn Measure) -> Result<()> {
        let detectors = &mut self.detectors;
        self.sees_dns = backend.dns(&mut |datagram| {
            detectors.observe(
                Moment::of(datagram.at),
                &Event::DnsMessage(message(&datagram)),
            );
        })?;
        detectors.tick(Instant::now());
        Ok(())
    }

    /// Takes what a reading says of retransmissions, if anybody wants to know.
    pub(super) fn feed_reading(&mut self, reading: &Reading) {
        if self.detectors.thresholds_mut().retransmit_storm.is_none() {
            return;
        }
        let mut sent = HashMap::with_capacity(reading.open.len());
        for socket in &reading.open {
            self.retransmits(socket);
            if let Some(retransmits) = socket.retransmits {
                let packets = socket.wire.map(|wire| wire.tx_packets);
                sent.insert(socket.id, (retransmits, packets));
            }
        }
        for socket in &reading.closed {
            self.retransmits(socket);
        }
        self.sent = sent;
    }

    fn retransmits(&mut self, socket: &Socket) {
        let (Some(retransmits), Some(remote)) = (socket.retransmits, socket.remote) else {
            return;
        };
        let (before, sent_before) = self.sent.get(&socket.id).copied().unwrap_or_default();
        let packets = socket.wire.map(|wire| wire.tx_packets);
        let sent = packets.map(|packets| packets.saturating_sub(sent_before.unwrap_or(0)));
        let retransmitted = retransmits.saturating_sub(before);
        if retransmitted == 0 && sent.unwrap_or(0) == 0 {
            return;
        }
        let event = Event::Retransmits(Retransmits {
            remote: remote.ip().into(),
            retransmitted,
            sent,
            actor: actor(socket.owner.map(|id| id.pid), socket.owner_name.as_deref()),
        });
        self.detectors.observe(Moment::now(), &event);
    }

    /// Takes the interfaces' rates, and fills in what is known. `seen` is how many
    /// alerts the caller has got, and is moved on.
    pub(super) fn fill(&mut self, snapshot: &mut Snapshot, seen: &mut u64) {
        if !self.sees_dns {
            return;
        }
        let now = Moment::now();
        if self.rates.is_due(now.monotonic, BETWEEN_RATES) {
            for interface in &snapshot.interfaces {
                if let Some(rate) = rate(interface) {
                    self.detectors.observe(now, &Event::InterfaceRate(rate));
                }
            }
        }
        snapshot.alerts = Some(self.detectors.alerts_since(*seen, now.monotonic));
        *seen = self.detectors.alerts_raised();
        snapshot.dns_analytics = self.sees_dns.then(|| self.detectors.dns_analytics());
    }

    pub(super) fn intelligence(&self) -> Intelligence {
        Intelligence {
            findings: self.detectors.findings(Instant::now()).cloned().collect(),
            dns: self
                .sees_dns
                .then(|| self.detectors.dns_statistics().clone()),
            dns_askers: self.detectors.dns_askers(),
            evicted: self.detectors.evicted(),
        }
    }
}

fn message<'a>(datagram: &DnsDatagram<'a>) -> DnsMessage<'a> {
    let (source, destination) = if datagram.sent {
        (datagram.local, datagram.remote)
    } else {
        (datagram.remote, datagram.local)
    };
    DnsMessage {
        source: source.ip().into(),
        source_port: source.port(),
        destination: destination.ip().into(),
        destination_port: destination.port(),
        payload: datagram.message,
        actor: datagram.owner.map(|(id, name)| Actor { pid: id.pid, name }),
        socket: Some(ClientSocket {
            id: datagram.socket,
            forwards: datagram.forwards,
        }),
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

fn actor(pid: Option<Pid>, name: Option<&str>) -> Option<Actor<'_>> {
    Some(Actor {
        pid: pid?,
        name: name?,
    })
}
