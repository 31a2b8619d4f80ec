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
