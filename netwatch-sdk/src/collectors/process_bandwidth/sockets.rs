//! Bytes of processes as differences of the counters of connections passed in.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::{
    reading::{Payload, Protocol, SocketState},
    wire::{Accuracy, ConnectionDetail, ProcessBandwidth},
};

/// Bytes of connections without a known owner.
const UNKNOWN: &str = "[unknown]";

/// The counters of every socket of the previous sample.
#[derive(Debug, Default)]
pub(super) struct SocketDeltas {
    previous: HashMap<Key, Payload>,
    taken_at: Option<Instant>,
}

/// One socket.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Before Linux 5.3 a cookie is unique in its namespace only.
    Cookie { netns: Option<u32>, cookie: u64 },
    Ends {
        protocol: String,
        local: String,
        remote: String,
    },
}

impl Key {
    fn of(row: &ConnectionDetail) -> Self {
        match row.cookie {
            Some(cookie) => Self::Cookie {
                netns: row.netns_inode,
                cookie,
            },
            None => Self::Ends {
                protocol: row.protocol.clone(),
                local: row.local_addr.clone(),
                remote: row.remote_addr.clone(),
            },
        }
    }
}

impl SocketDeltas {
    /// A row for each process with an established connection or bytes.
    pub(super) fn since_previous(
        &mut self,
        now: Instant,
        connections: &[ConnectionDetail],
    ) -> Vec<ProcessBandwidth> {
        let elapsed = self
            .taken_at
            .map(|then| now.saturating_duration_since(then).as_secs_f64());
        let rate = |bytes: u64| match elapsed {
            Some(seconds) if seconds > 0.0 => bytes as f64 / seconds,
            _ => 0.0,
        };
        let established = SocketState::Established.name(Protocol::Tcp);
        let mut processes: BTreeMap<(Option<u32>, &str), (Payload, u32)> = BTreeMap::new();
        let mut current = HashMap::with_capacity(connections.len());
        for row in connections {
            let moved = self.moved(row, &mut current);
            let is_established = row.state == established;
            if !is_established && moved == Payload::default() {
                continue;
            }
            let name = match (row.pid, &row.process_name) {
                (_, Some(name)) => name,
                (Some(_), None) => "",
                (None, None) => UNKNOWN,
            };
            let (sum, count) = processes.entry((row.pid, name)).or_default();
            sum.rx_bytes = sum.rx_bytes.saturating_add(moved.rx_bytes);
            sum.tx_bytes = sum.tx_bytes.saturating_add(moved.tx_bytes);
            *count += u32::from(is_established);
        }
        self.previous = current;
        self.taken_at = Some(now);
        let row = |((pid, name), (moved, count)): ((Option<u32>, &str), (Payload, u32))| {
            ProcessBandwidth {
                accuracy: Some(Accuracy::LowerBound),
                ..ProcessBandwidth::network_only(
                    name.to_owned(),
                    pid,
                    moved.rx_bytes,
                    moved.tx_bytes,
                    rate(moved.rx_bytes),
                    rate(moved.tx_bytes),
                    count,
                )
            }
        };
        processes.into_iter().map(row).collect()
    }

    /// What a socket moved since the previous sample: nothing when it was not in that or
    /// has no counters.
    fn moved(&self, row: &ConnectionDetail, current: &mut HashMap<Key, Payload>) -> Payload {
        let (Some(rx_bytes), Some(tx_bytes)) = (row.rx_bytes, row.tx_bytes) else {
            return Payload::default();
        };
        let now = Payload { rx_bytes, tx_bytes };
        let key = Key::of(row);
        let moved = match self.previous.get(&key) {
            None => Payload::default(),
            // Another socket by the same name: all its bytes are new.
            Some(then) if rx_bytes < then.rx_bytes || tx_bytes < then.tx_bytes => now,
            Some(then) => Payload {
                rx_bytes: rx_bytes - then.rx_bytes,
                tx_bytes: tx_bytes - then.tx_bytes,
            },
        };
        current.insert(key, now);
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(pid: u32, local: &str, bytes: Option<(u64, u64)>) -> ConnectionDetail {
        ConnectionDetail {
            protocol: "TCP".into(),
            local_addr: local.into(),
            remote_addr: "192.0.2.1:443".into(),
            state: "ESTABLISHED".into(),
            pid: Some(pid),
            process_name: Some(format!("process {pid}")),
            rx_bytes: bytes.map(|(rx, _)| rx),
            tx_bytes: bytes.map(|(_, tx)| tx),
            ..ConnectionDetail::default()
        }
    }

    /// pid, bytes and rates of each row.
    fn sampled(
        deltas: &mut SocketDeltas,
        now: Instant,
        rows: &[ConnectionDetail],
    ) -> Vec<(u32, u64, u64, f64, u32)> {
        let rows = deltas.since_previous(now, rows);
        rows.iter()
            .map(|row| {
                let pid = row.pid.unwrap_or_default();
                (
                    pid,
                    row.rx_bytes,
                    row.tx_bytes,
                    row.rx_rate,
                    row.connection_count,
                )
            })
            .collect()
    }

    #[test]
    fn bytes_count_from_the_second_sample_on_over_the_measured_time() {
        let (mut deltas, begin) = (SocketDeltas::default(), Instant::now());
        let first = [row(1, "a", Some((1000, 500))), row(1, "b", Some((0, 0)))];
        assert_eq!(sampled(&mut deltas, begin, &first), [(1, 0, 0, 0.0, 2)]);
        let second = [
            row(1, "a", Some((1100, 507))),
            row(1, "b", Some((10, 0))),
            row(2, "c", Some((9999, 9999))),
            row(3, "d", None),
        ];
        let later = begin + Duration::from_secs(2);
        assert_eq!(
            sampled(&mut deltas, later, &second),
            [(1, 110, 7, 55.0, 2), (2, 0, 0, 0.0, 1), (3, 0, 0, 0.0, 1)]
        );
    }

    #[test]
    fn a_counter_that_fell_is_another_sockets() {
        let (mut deltas, begin) = (SocketDeltas::default(), Instant::now());
        sampled(&mut deltas, begin, &[row(1, "a", Some((1000, 500)))]);
        let later = begin + Duration::from_secs(1);
        assert_eq!(
            sampled(&mut deltas, later, &[row(1, "a", Some((30, 700)))]),
            [(1, 30, 700, 30.0, 1)]
        );
    }

    #[test]
    fn the_last_bytes_of_a_connection_count_though_it_is_not_established_any_more() {
        let (mut deltas, begin) = (SocketDeltas::default(), Instant::now());
        sampled(&mut deltas, begin, &[row(1, "a", Some((10, 0)))]);
        let closing = ConnectionDetail {
            state: "FIN_WAIT2".into(),
            ..row(1, "a", Some((15, 0)))
        };
        let later = begin + Duration::from_secs(1);
        assert_eq!(
            sampled(&mut deltas, later, std::slice::from_ref(&closing)),
            [(1, 5, 0, 5.0, 0)]
        );
        assert_eq!(sampled(&mut deltas, later, &[closing]), []);
    }

    #[test]
    fn sockets_of_two_namespaces_with_the_same_cookie_are_two() {
        let (mut deltas, begin) = (SocketDeltas::default(), Instant::now());
        let rows = |one, other| {
            [(1, one), (2, other)].map(|(pid, rx)| ConnectionDetail {
                cookie: Some(77),
                netns_inode: Some(pid),
                ..row(pid, "a", Some((rx, 0)))
            })
        };
        sampled(&mut deltas, begin, &rows(1000, 5));
        let later = begin + Duration::from_secs(1);
        assert_eq!(
            sampled(&mut deltas, later, &rows(1001, 7)),
            [(1, 1, 0, 1.0, 1), (2, 2, 0, 2.0, 1)]
        );
    }

    #[test]
    fn bytes_of_no_known_process_are_not_another_ones() {
        let (mut deltas, begin) = (SocketDeltas::default(), Instant::now());
        let nameless = ConnectionDetail {
            pid: None,
            process_name: None,
            ..row(1, "a", Some((0, 0)))
        };
        let rows = deltas.since_previous(begin, &[nameless, row(1, "b", None)]);
        let names: Vec<_> = rows.iter().map(|row| row.process_name.as_str()).collect();
        assert_eq!(names, ["[unknown]", "process 1"]);
    }
}
