use super::*;
use crate::wire::Source;

fn connection(cookie: u64, local: &str, source: Option<Source>) -> ConnectionDetail {
    ConnectionDetail {
        protocol: "TCP".into(),
        local_addr: local.into(),
        remote_addr: "192.0.2.1:443".into(),
        state: "ESTABLISHED".into(),
        pid: Some(1),
        process_name: Some("made up".into()),
        rx_bytes: Some(5),
        tx_bytes: Some(7),
        cookie: Some(cookie),
        source,
        ..ConnectionDetail::default()
    }
}

#[test]
fn connections_made_by_hand_are_rated_by_their_own_counters() {
    let mut tracker = ProcessBandwidthTracker::new();
    let mut connection = connection(1, "192.0.2.7:1", None);
    let first = tracker.sample(std::slice::from_ref(&connection), 10);
    assert_eq!((first[0].rx_bytes, first[0].rx_rate), (0, 0.0));
    connection.rx_bytes = Some(105);
    let second = tracker.sample(&[connection], 10);
    assert_eq!(second[0].process_name, "made up");
    assert_eq!((second[0].rx_bytes, second[0].tx_bytes), (100, 0));
    assert!(second[0].rx_rate > 0.0);
    assert!(tracker.host.is_none());
}

#[test]
fn connections_of_another_host_are_not_taken_for_this_ones() {
    let mut tracker = ProcessBandwidthTracker::new();
    let elsewhere = connection(u64::MAX, "203.0.113.9:1", Some(Source::Ebpf));
    let rows = tracker.sample(std::slice::from_ref(&elsewhere), 10);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].process_name, "made up");
    assert!(tracker.host.is_none());
}
