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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(source: &str, port: u16) -> ConnAttemptEvent {
        ConnAttemptEvent {
            src_ip: source.to_owned(),
            dst_ip: "192.0.2.7".to_owned(),
            dst_port: port,
        }
    }

    fn query(txid: u16, name: &str) -> DnsQueryEvent {
        DnsQueryEvent {
            txid,
            client_ip: "10.0.0.9".to_owned(),
            server_ip: "10.0.0.1".to_owned(),
            qname: name.to_owned(),
        }
    }

    fn response(txid: u16, rcode: u8) -> DnsResponseEvent {
        DnsResponseEvent {
            txid,
            client_ip: "10.0.0.9".to_owned(),
            server_ip: "10.0.0.1".to_owned(),
            rcode,
        }
    }

    fn rate(interface: &str, rx: u64) -> InterfaceRateEvent {
        InterfaceRateEvent {
            iface: interface.to_owned(),
            rx_bps: rx,
            tx_bps: 0,
        }
    }

    #[test]
    fn a_new_collector_has_nothing_to_say() {
        let mut intel = NetworkIntelCollector::default();
        intel.tick();
        assert_eq!(intel.active_alerts(), []);
        assert_eq!(intel.active_alert_count(), 0);
        assert!(intel.alert_history().is_empty());
        assert!(intel.dns_analytics().is_empty());
    }

    #[test]
    fn each_scanning_source_raises_one_critical_alert() {
        let mut intel = NetworkIntelCollector::new();
        for source in ["10.0.0.1", "fe80::2%eth0", "a host without an address"] {
            for port in 1..=19 {
                intel.on_conn_attempt(attempt(source, port));
            }
        }
        assert_eq!(intel.active_alert_count(), 0);
        for source in ["10.0.0.1", "fe80::2%eth0", "a host without an address"] {
            for port in 20..=60 {
                intel.on_conn_attempt(attempt(source, port));
            }
        }
        intel.tick();
        let alerts = intel.active_alerts();
        assert_eq!(alerts.len(), 3);
        assert_eq!(alerts.len(), intel.active_alert_count());
        assert!(
            alerts
                .iter()
                .all(|alert| alert.category == AlertCategory::PortScan)
        );
        assert!(
            alerts
                .iter()
                .all(|alert| alert.severity == AlertSeverity::Critical)
        );
        assert_eq!(alerts[1].message, "Port scan from fe80::2%eth0");
        assert_eq!(
            intel.alert_history().iter().collect::<Vec<_>>(),
            alerts.iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_long_name_and_many_names_raise_alerts() {
        let mut intel = NetworkIntelCollector::new();
        intel.on_dns_query(query(1, &format!("{}.example.com", "a".repeat(90))));
        for n in 0..60 {
            intel.on_dns_query(query(n, &format!("{n:04}.tunnel.test")));
        }
        let alerts: Vec<_> = intel
            .active_alerts()
            .into_iter()
            .map(|alert| (alert.category, alert.severity))
            .collect();
        assert_eq!(
            alerts,
            [
                (AlertCategory::DnsTunnel, AlertSeverity::Warning),
                (AlertCategory::DnsTunnel, AlertSeverity::Critical),
            ]
        );
    }

    #[test]
    fn the_bandwidth_threshold_holds_for_interfaces_already_known() {
        let mut intel = NetworkIntelCollector::new();
        for _ in 0..5 {
            intel.on_interface_rate(rate("eth0", 100_000_000));
        }
        assert_eq!(intel.active_alert_count(), 0);
        intel.set_bandwidth_threshold(99_999_999);
        for interface in ["eth0", "eth1"] {
            intel.on_interface_rate(rate(interface, 100_000_000));
            intel.on_interface_rate(rate(interface, 100_000_000));
        }
        assert_eq!(intel.active_alert_count(), 2);
        assert!(
            intel
                .active_alerts()
                .iter()
                .all(|alert| alert.severity == AlertSeverity::Warning)
        );
        let mut off = NetworkIntelCollector::new();
        off.set_bandwidth_threshold(u64::MAX);
        for _ in 0..5 {
            off.on_interface_rate(rate("eth0", u64::MAX));
        }
        assert_eq!(off.active_alert_count(), 0);
    }

    #[test]
    fn going_above_again_after_a_fall_is_another_alert() {
        let mut intel = NetworkIntelCollector::new();
        for rx in [200, 200, 200, 80, 200, 200] {
            intel.on_interface_rate(rate("eth0", rx * 1_000_000));
        }
        assert_eq!(intel.active_alert_count(), 2);
    }

    #[test]
    fn history_keeps_the_last_100() {
        let mut intel = NetworkIntelCollector::new();
        for n in 0..120 {
            intel.on_interface_rate(rate(&format!("if{n}"), 200_000_000));
            intel.on_interface_rate(rate(&format!("if{n}"), 200_000_000));
        }
        assert_eq!(intel.active_alert_count(), 120);
        assert_eq!(intel.alert_history().len(), 100);
        assert_eq!(intel.alert_history()[0].message, "if20 above 100.0 MB/s");
    }

    #[test]
    fn every_query_and_response_counts_and_latency_where_they_match() {
        let mut intel = NetworkIntelCollector::new();
        for _ in 0..10 {
            intel.on_dns_query(query(1, "WWW.example.com"));
        }
        intel.on_dns_query(query(2, "api.example.org."));
        intel.on_dns_response(response(1, 0));
        intel.on_dns_response(response(2, 3));
        intel.on_dns_response(response(3, 3));
        let dns = intel.dns_analytics();
        assert_eq!(
            (dns.total_queries, dns.total_responses, dns.nxdomain_count),
            (11, 3, 2)
        );
        assert_eq!(dns.latency_buckets.iter().sum::<u64>(), 2);
        assert_eq!(
            dns.top_domains,
            [
                ("example.com".to_owned(), 10),
                ("example.org".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn twenty_domains_are_listed() {
        let mut intel = NetworkIntelCollector::new();
        for n in 0..50 {
            intel.on_dns_query(query(n, &format!("www.site{n:02}.com")));
        }
        assert_eq!(intel.dns_analytics().top_domains.len(), 20);
    }

    #[test]
    fn hosts_and_ports_are_split() {
        for (text, host, port) in [
            ("10.0.0.1:443", "10.0.0.1", 443),
            ("127.0.0.53%lo:53", "127.0.0.53%lo", 53),
            ("[::1]:8080", "::1", 8080),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
            ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80),
            ("::1:443", "::1", 443),
            ("fe80::1%eth0:443", "fe80::1%eth0", 443),
            ("2001:db8:1:2:3:4:5:6:65535", "2001:db8:1:2:3:4:5:6", 65_535),
            ("example.com:0", "example.com", 0),
            ("*:68", "*", 68),
        ] {
            assert_eq!(
                split_host_port(text),
                Some((host.to_owned(), port)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_none() {
        for text in [
            "",
            ":",
            "no-port",
            ":443",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "10.0.0.1:-1",
            "10.0.0.1:+1",
            "10.0.0.1: 1",
            "10.0.0.1:https",
            "*:*",
            "::1",
            "2001:db8:1:2:3:4:5:6",
            "[]:1",
            "[::1]",
            "[::1:1",
            "::1]:1",
            "[10.0.0.1]:1",
            "[[::1]]:1",
            "[fe80::1%]:1",
            "a:b:1",
            "1:2:3",
        ] {
            assert_eq!(split_host_port(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_socket_address_is_split_as_it_was_joined(address in any::<std::net::SocketAddr>()) {
            let address = std::net::SocketAddr::new(address.ip(), address.port());
            prop_assert_eq!(split_host_port(&address.to_string()), Some((address.ip().to_string(), address.port())));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*|[0-9:.%\\[\\]*]{0,30}") {
            if let Some((host, port)) = split_host_port(&text) {
                prop_assert!(text.contains(&host));
                prop_assert!(text.trim_end().ends_with(&port.to_string()));
            }
        }

        #[test]
        fn any_events_are_survived(events in prop::collection::vec((".{0,90}", ".{0,90}", any::<u16>(), any::<u64>()), 0..60)) {
            let mut intel = NetworkIntelCollector::new();
            for (a, b, number, rate) in events {
                intel.on_conn_attempt(ConnAttemptEvent { src_ip: a.clone(), dst_ip: b.clone(), dst_port: number });
                intel.on_dns_query(DnsQueryEvent { txid: number, client_ip: a.clone(), server_ip: a.clone(), qname: b.clone() });
                intel.on_dns_response(DnsResponseEvent { txid: number, client_ip: a.clone(), server_ip: b, rcode: rate as u8 });
                intel.on_interface_rate(InterfaceRateEvent { iface: a, rx_bps: rate, tx_bps: rate / 2 });
                intel.tick();
            }
            prop_assert!(intel.alert_history().len() <= 100);
        }
    }
}
