use super::*;

fn counters(name: &str, rx_bytes: u64, tx_bytes: u64) -> HashMap<String, InterfaceStats> {
    let stats = InterfaceStats {
        name: name.into(),
        rx_bytes,
        tx_bytes,
        rx_packets: 3,
        tx_packets: 4,
        rx_errors: 5,
        tx_errors: 6,
        rx_drops: 7,
        tx_drops: 8,
        is_up: true,
    };
    HashMap::from([(name.to_owned(), stats)])
}

fn seconds(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

#[test]
fn the_first_sample_has_counters_and_no_rates() {
    let metric = InterfaceRateTracker::new()
        .sample(&counters("eth0", 1000, 2000))
        .remove(0);
    let expected = InterfaceMetric {
        name: "eth0".into(),
        is_up: true,
        rx_bytes: 1000,
        tx_bytes: 2000,
        rx_bytes_delta: 0,
        tx_bytes_delta: 0,
        rx_packets: 3,
        tx_packets: 4,
        rx_errors: 5,
        tx_errors: 6,
        rx_drops: 7,
        tx_drops: 8,
        rx_rate: None,
        tx_rate: None,
        rx_history: None,
        tx_history: None,
    };
    assert_eq!(metric, expected);
}

#[test]
fn rates_are_over_the_time_that_passed_not_the_time_that_was_planned() {
    let start = Instant::now();
    let mut tracker = InterfaceRateTracker::new();
    tracker.sample_at(start, &counters("eth0", 1000, 2000));
    let metrics = tracker.sample_at(seconds(start, 2.5), &counters("eth0", 2000, 7000));
    let eth0 = &metrics[0];
    assert_eq!((eth0.rx_bytes_delta, eth0.tx_bytes_delta), (1000, 5000));
    assert_eq!((eth0.rx_rate, eth0.tx_rate), (Some(400.0), Some(2000.0)));
    assert_eq!(eth0.rx_history, Some(vec![400]));
    assert_eq!(eth0.tx_history, Some(vec![2000]));
}

#[test]
fn two_samples_at_one_instant_have_no_rate_and_lose_no_bytes() {
    let start = Instant::now();
    let mut tracker = InterfaceRateTracker::new();
    tracker.sample_at(start, &counters("eth0", 1000, 0));
    let metrics = tracker.sample_at(start, &counters("eth0", 1500, 0));
    assert_eq!(metrics[0].rx_bytes_delta, 500);
    assert_eq!(metrics[0].rx_rate, None);
    assert_eq!(metrics[0].rx_history, None);
}

#[test]
fn history_holds_the_last_sixty_rates_oldest_first() {
    let start = Instant::now();
    let mut tracker = InterfaceRateTracker::new();
    let mut bytes = 0;
    let mut metrics = Vec::new();
    for second in 0..100_u32 {
        bytes += u64::from(second);
        let now = seconds(start, f64::from(second));
        metrics = tracker.sample_at(now, &counters("eth0", bytes, 0));
    }
    let expected: Vec<u64> = (40..100).collect();
    assert_eq!(metrics[0].rx_history, Some(expected));
}

#[test]
fn an_interface_that_comes_back_starts_anew() {
    let start = Instant::now();
    let mut tracker = InterfaceRateTracker::new();
    tracker.sample_at(start, &counters("tun0", 5000, 0));
    assert_eq!(tracker.sample_at(seconds(start, 1.0), &HashMap::new()), []);
    let metrics = tracker.sample_at(seconds(start, 2.0), &counters("tun0", 6000, 0));
    assert_eq!(metrics[0].rx_rate, None);
    assert_eq!(metrics[0].rx_bytes_delta, 0);
}

#[test]
fn a_counter_that_starts_again_gives_what_passed_since() {
    let start = Instant::now();
    let mut tracker = InterfaceRateTracker::new();
    tracker.sample_at(start, &counters("eth0", 1 << 40, 1 << 40));
    let metrics = tracker.sample_at(seconds(start, 1.0), &counters("eth0", 300, 1 << 41));
    assert_eq!(metrics[0].rx_rate, Some(300.0));
    assert_eq!(metrics[0].tx_bytes_delta, 1 << 40);
}

#[test]
fn interfaces_come_sorted_by_name() {
    let mut stats = counters("wlan0", 1, 1);
    stats.extend(counters("eth0", 1, 1));
    stats.extend(counters("lo", 1, 1));
    let metrics = InterfaceRateTracker::new().sample(&stats);
    let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["eth0", "lo", "wlan0"]);
}

/// `/proc/net/dev` is another way to the same counters.
#[test]
#[cfg(target_os = "linux")]
fn loopback_traffic_shows_as_proc_net_dev_counts_it() {
    fn proc_net_dev_lo() -> u64 {
        let text = std::fs::read_to_string("/proc/net/dev").unwrap();
        let lo = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("lo:"));
        lo.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }
    let mut tracker = InterfaceRateTracker::new();
    sample(&mut tracker).unwrap();
    let before = proc_net_dev_lo();
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        sender
            .send_to(&[0; 1000], receiver.local_addr().unwrap())
            .unwrap();
    }
    let metrics = sample(&mut tracker).unwrap();
    let after = proc_net_dev_lo();
    let lo = metrics.iter().find(|metric| metric.name == "lo").unwrap();
    assert!(lo.is_up);
    assert!(lo.rx_bytes_delta >= 100 * 1028, "{lo:?}");
    assert!(lo.rx_bytes >= before + 100 * 1028 && lo.rx_bytes <= after);
    assert!(lo.rx_rate.unwrap() > 0.0);
}
