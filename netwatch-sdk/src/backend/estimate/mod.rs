//! Interface totals shared out by connection count: a guess, for hosts where
//! nothing counts per process.

#[cfg(target_os = "linux")]
pub(crate) mod shares;

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    reading::{Protocol, SocketState},
    wire::{Accuracy, ConnectionDetail, InterfaceMetric, ProcessBandwidth, Source},
};

/// Bytes of connections without a known owner, and all when there is no connection.
const UNKNOWN: &str = "[unknown]";
/// The processes beyond the number asked for, together.
const OTHER: &str = "[other]";

/// Shares out what all interfaces but loopback moved since their previous sample,
/// in proportion to the number of established connections that leave the host.
///
/// Every row has source `connection_share` and accuracy `estimate`. The rows add
/// up to the interfaces' `rx_bytes_delta`, `tx_bytes_delta` and rates; those beyond
/// `max` are one row, `[other]`, which is the last of the `max`. An interface that
/// carries another one's traffic (a bridge, a tunnel) counts too.
///
/// Pure: reads nothing of the host.
#[must_use]
pub fn attribute(
    connections: &[ConnectionDetail],
    interfaces: &[InterfaceMetric],
    max: usize,
) -> Vec<ProcessBandwidth> {
    let total = Total::of(interfaces);
    let mut counts: BTreeMap<(&str, Option<u32>), u32> = BTreeMap::new();
    for connection in connections.iter().filter(|it| leaves_the_host(it)) {
        let name = match (connection.pid, &connection.process_name) {
            (Some(_), Some(name)) => name,
            (Some(_), None) => "",
            (None, _) => UNKNOWN,
        };
        *counts.entry((name, connection.pid)).or_default() += 1;
    }
    if counts.is_empty() {
        if total.is_zero() {
            return Vec::new();
        }
        counts.insert((UNKNOWN, None), 0);
    }
    let mut shares: Vec<_> = counts.into_iter().collect();
    // Stable: equal counts stay in the order of their names.
    shares.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    if shares.len() > max {
        let others = shares.split_off(max.saturating_sub(1));
        let count = others.iter().map(|&(_, count)| count).sum();
        shares.push(((OTHER, None), count));
        shares.truncate(max);
    }
    let all: u32 = shares.iter().map(|&(_, count)| count).sum();
    let mut before = 0;
    shares
        .into_iter()
        .map(|((name, pid), count)| {
            let share = Share {
                from: before,
                to: before + count,
                of: all,
            };
            before += count;
            let mut row = ProcessBandwidth::network_only(
                name.to_owned(),
                pid,
                share.of_bytes(total.rx_bytes),
                share.of_bytes(total.tx_bytes),
                share.of_rate(total.rx_rate),
                share.of_rate(total.tx_rate),
                count,
            );
            row.source = Some(Source::ConnectionShare);
            row.accuracy = Some(Accuracy::Estimate);
            row
        })
        .collect()
}

/// Whether a connection's bytes can be among those of the interfaces.
fn leaves_the_host(connection: &ConnectionDetail) -> bool {
    let established = SocketState::Established.name(Protocol::Tcp);
    let loopback = connection
        .remote_addr
        .parse::<SocketAddr>()
        .is_ok_and(|remote| remote.ip().to_canonical().is_loopback());
    connection.state == established && !loopback
}

/// What all interfaces but loopback moved.
#[derive(Debug, Default)]
struct Total {
    rx_bytes: u64,
    tx_bytes: u64,
    rx_rate: f64,
    tx_rate: f64,
}

impl Total {
    fn of(interfaces: &[InterfaceMetric]) -> Self {
        let mut total = Self::default();
        for interface in interfaces {
            if matches!(interface.name.as_str(), "lo" | "lo0") {
                continue;
            }
            total.rx_bytes = total.rx_bytes.saturating_add(interface.rx_bytes_delta);
            total.tx_bytes = total.tx_bytes.saturating_add(interface.tx_bytes_delta);
            total.rx_rate += interface.rx_rate.unwrap_or_default();
            total.tx_rate += interface.tx_rate.unwrap_or_default();
        }
        total
    }

    fn is_zero(&self) -> bool {
        self.rx_bytes == 0 && self.tx_bytes == 0 && self.rx_rate == 0.0 && self.tx_rate == 0.0
    }
}

/// The connections `from..to` of `of`; all of nothing when there is none.
#[derive(Debug, Clone, Copy)]
struct Share {
    from: u32,
    to: u32,
    of: u32,
}

impl Share {
    /// Rounds the limits of the shares, not the shares, so that nothing is left over.
    fn of_bytes(self, total: u64) -> u64 {
        let limit = |at: u32| {
            let limit = u128::from(total) * u128::from(at) / u128::from(self.of.max(1));
            u64::try_from(limit).unwrap_or(u64::MAX)
        };
        match self.of {
            0 => total,
            _ => limit(self.to) - limit(self.from),
        }
    }

    fn of_rate(self, total: f64) -> f64 {
        match self.of {
            0 => total,
            of => total * f64::from(self.to - self.from) / f64::from(of),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn interface(name: &str, rx: u64, tx: u64) -> InterfaceMetric {
        InterfaceMetric {
            name: name.into(),
            is_up: true,
            rx_bytes: rx,
            tx_bytes: tx,
            rx_bytes_delta: rx,
            tx_bytes_delta: tx,
            rx_packets: 0,
            tx_packets: 0,
            rx_errors: 0,
            tx_errors: 0,
            rx_drops: 0,
            tx_drops: 0,
            rx_rate: Some(rx as f64 / 2.0),
            tx_rate: None,
            rx_history: None,
            tx_history: None,
        }
    }

    fn connection(pid: Option<u32>, remote: &str, state: &str) -> ConnectionDetail {
        ConnectionDetail {
            protocol: "TCP".into(),
            local_addr: "10.0.0.1:50000".into(),
            remote_addr: remote.into(),
            state: state.into(),
            pid,
            process_name: pid.map(|pid| format!("process {pid}")),
            ..ConnectionDetail::default()
        }
    }

    fn established(pid: Option<u32>) -> ConnectionDetail {
        connection(pid, "192.0.2.1:443", "ESTABLISHED")
    }

    fn rows(rows: &[ProcessBandwidth]) -> Vec<(&str, u64, u64, u32)> {
        let fields = |row: &ProcessBandwidth| (row.rx_bytes, row.tx_bytes, row.connection_count);
        rows.iter()
            .map(|row| {
                let (rx, tx, count) = fields(row);
                (row.process_name.as_str(), rx, tx, count)
            })
            .collect()
    }

    #[test]
    fn interface_bytes_are_shared_out_by_connection_count_with_nothing_left_over() {
        let connections = [
            established(Some(1)),
            established(Some(1)),
            established(Some(2)),
        ];
        let shared = attribute(&connections, &[interface("eth0", 100, 10)], 10);
        assert_eq!(
            rows(&shared),
            [("process 1", 66, 6, 2), ("process 2", 34, 4, 1)]
        );
        assert_eq!(shared[0].source, Some(Source::ConnectionShare));
        assert_eq!(shared[0].accuracy, Some(Accuracy::Estimate));
        assert!((shared[0].rx_rate - 100.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn loopback_and_what_is_not_established_have_no_share() {
        let connections = [
            established(Some(1)),
            connection(Some(2), "127.0.0.1:80", "ESTABLISHED"),
            connection(Some(3), "[::1]:80", "ESTABLISHED"),
            connection(Some(4), "*:*", "LISTEN"),
            connection(Some(5), "192.0.2.1:443", "TIME_WAIT"),
        ];
        let interfaces = [interface("lo", 1000, 1000), interface("eth0", 100, 10)];
        let shared = attribute(&connections, &interfaces, 10);
        assert_eq!(rows(&shared), [("process 1", 100, 10, 1)]);
    }

    #[test]
    fn bytes_of_no_known_process_are_not_given_to_another() {
        let interfaces = [interface("eth0", 100, 10)];
        let shared = attribute(&[], &interfaces, 10);
        assert_eq!(rows(&shared), [("[unknown]", 100, 10, 0)]);
        let shared = attribute(&[established(None), established(Some(1))], &interfaces, 10);
        assert_eq!(
            rows(&shared),
            [("[unknown]", 50, 5, 1), ("process 1", 50, 5, 1)]
        );
        assert_eq!(attribute(&[], &[], 10), []);
    }

    proptest! {
        #[test]
        fn the_shares_add_up_to_the_total_whatever_is_asked_for(
            pids in proptest::collection::vec(proptest::option::of(0u32..20), 0..100),
            rx: u64, tx: u64, max in 1usize..30,
        ) {
            let connections: Vec<_> = pids.into_iter().map(established).collect();
            let shared = attribute(&connections, &[interface("eth0", rx, tx)], max);
            prop_assert!(shared.len() <= max);
            let sum = |bytes: fn(&ProcessBandwidth) -> u64| -> u128 {
                shared.iter().map(|row| u128::from(bytes(row))).sum()
            };
            prop_assert_eq!(sum(|row| row.rx_bytes), u128::from(rx));
            prop_assert_eq!(sum(|row| row.tx_bytes), u128::from(tx));
        }
    }
}
