//! The detectors and DNS figures under the path and with the sinks that
//! `netwatch-sdk` 0.4.1 published, for callers who feed them themselves.
//!
//! A thin cover over [`detect`](crate::detect): addresses are text, the clocks
//! are read when a method is called, and thresholds are the documented ones.
//! What the typed API can do more (processes in alerts, allowed traffic, more
//! detectors, what was lost) is there.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::detect::{
    BandwidthThreshold, ConnectionAttempt, Detectors, DnsQuery, DnsResponse, Event, Host,
    InterfaceRate, Moment, Repeats, Thresholds,
};

pub use crate::wire::{Alert, AlertCategory, AlertSeverity, DnsAnalytics};

/// A connection was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnAttemptEvent {
    /// Who connects.
    pub src_ip: String,
    /// To whom.
    pub dst_ip: String,
    /// To which port.
    pub dst_port: u16,
}

/// A DNS server was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsQueryEvent {
    /// The message's id.
    pub txid: u16,
    /// Who asks.
    pub client_ip: String,
    /// Who is asked.
    pub server_ip: String,
    /// The name.
    pub qname: String,
}

/// A DNS server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsResponseEvent {
    /// The message's id.
    pub txid: u16,
    /// Who asked.
    pub client_ip: String,
    /// Who answers.
    pub server_ip: String,
    /// The response code; 3 is NXDOMAIN.
    pub rcode: u8,
}

/// An interface was sampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRateEvent {
    /// Its name.
    pub iface: String,
    /// Receiving, bytes a second.
    pub rx_bps: u64,
    /// Sending, bytes a second.
    pub tx_bps: u64,
}

/// The four published detectors and DNS figures.
///
/// Memory is bounded whatever arrives. Call [`tick`](Self::tick) about every 30 s.
#[derive(Debug)]
pub struct NetworkIntelCollector {
    detectors: Detectors,
}

impl Default for NetworkIntelCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl NetworkIntelCollector {
    /// With nothing seen yet, and the documented thresholds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            detectors: Detectors::with_repeats(Thresholds::default(), Repeats::AsMore),
        }
    }

    /// The alerts raised within the last 60 s, oldest first. The same alert is
    /// not raised again while it is among them.
    #[must_use]
    pub fn active_alerts(&self) -> Vec<Alert> {
        self.detectors.alerts(Instant::now())
    }

    /// How many [`active_alerts`](Self::active_alerts) there are.
    #[must_use]
    pub fn active_alert_count(&self) -> usize {
        self.detectors.findings(Instant::now()).count()
    }

    /// The last 100 alerts, oldest first, active or not.
    #[must_use]
    pub const fn alert_history(&self) -> &VecDeque<Alert> {
        self.detectors.history()
    }

    /// DNS figures since the start.
    #[must_use]
    pub fn dns_analytics(&self) -> DnsAnalytics {
        self.detectors.dns_analytics()
    }

    /// Sets the rate, in bytes a second, that an interface must exceed for an
    /// alert; 100,000,000 unless set. `u64::MAX` is never exceeded: off.
    pub fn set_bandwidth_threshold(&mut self, threshold: u64) {
        self.detectors.thresholds_mut().bandwidth = Some(BandwidthThreshold {
            bytes_per_second: threshold,
            ..BandwidthThreshold::default()
        });
    }

    /// Forgets what is too old to matter. May be called as often as one likes.
    pub fn tick(&mut self) {
        self.detectors.tick(Instant::now());
    }

    /// Takes in a connection attempt.
    pub fn on_conn_attempt(&mut self, event: ConnAttemptEvent) {
        self.observe(&Event::ConnectionAttempt(ConnectionAttempt {
            source: Host::from_text(&event.src_ip),
            destination: Host::from_text(&event.dst_ip),
            port: event.dst_port,
            actor: None,
        }));
    }

    /// Takes in a DNS query. Every call counts as a query.
    pub fn on_dns_query(&mut self, event: DnsQueryEvent) {
        self.observe(&Event::DnsQuery(DnsQuery {
            txid: event.txid,
            client: Host::from_text(&event.client_ip),
            client_port: None,
            server: Host::from_text(&event.server_ip),
            name: &event.qname,
            record_type: None,
            actor: None,
            socket: None,
        }));
    }

    /// Takes in a DNS response. Every call counts as a response; its latency
    /// counts when its query was seen within the 5 s before.
    pub fn on_dns_response(&mut self, event: DnsResponseEvent) {
        self.observe(&Event::DnsResponse(DnsResponse {
            txid: event.txid,
            client: Host::from_text(&event.client_ip),
            client_port: None,
            server: Host::from_text(&event.server_ip),
            rcode: event.rcode,
            name: None,
            record_type: None,
            actor: None,
            socket: None,
        }));
    }

    /// Takes in a sample of an interface.
    pub fn on_interface_rate(&mut self, event: InterfaceRateEvent) {
        self.observe(&Event::InterfaceRate(InterfaceRate {
            interface: &event.iface,
            rx_rate: event.rx_bps,
            tx_rate: event.tx_bps,
        }));
    }

    fn observe(&mut self, event: &Event<'_>) {
        self.detectors.observe(Moment::now(), event);
    }
}

/// Splits `10.0.0.1:443`, `[::1]:443`, `example.com:443` or `*:443`.
///
/// An IPv6 address keeps its zone (`fe80::1%eth0`) and loses its brackets.
/// Without brackets the part after the last colon is the port, if what is
/// before it is an address: `::1:443` is port 443 of `::1`. `None` when the
/// port is missing, no number or above 65,535, when there is no host, or when
/// brackets do not hold an IPv6 address.
#[must_use]
pub fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    let host = if let Some(bracketed) = host.strip_prefix('[') {
        bracketed.strip_suffix(']').filter(|host| is_ipv6(host))?
    } else if host.contains(':') {
        Some(host).filter(|host| is_ipv6(host))?
    } else {
        Some(host).filter(|host| !host.is_empty() && !host.contains(['[', ']']))?
    };
    Some((host.to_owned(), port))
}

fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
        None => matches!(text.parse(), Ok(IpAddr::V6(_))),
    }
}

#[cfg(test)]
mod tests;
