//! The rows that moved most, and the rest in one.

use std::cmp::Reverse;

use crate::wire::ProcessBandwidth;

/// The processes beyond the number asked for, together.
const OTHER: &str = "[other]";

/// Most bytes first, then most sockets; at most `max` rows. What those beyond moved is in
/// the last row.
pub(super) fn rank(mut rows: Vec<ProcessBandwidth>, max: usize) -> Vec<ProcessBandwidth> {
    // Stable: equal rows stay in the order given.
    rows.sort_by_key(|row| Reverse((moved(row), row.connection_count)));
    if rows
        .get(max)
        .is_some_and(|first_beyond| moved(first_beyond) > 0)
    {
        let beyond = rows.split_off(max.saturating_sub(1));
        rows.extend(beyond.into_iter().reduce(together));
    }
    rows.truncate(max);
    rows
}

fn moved(row: &ProcessBandwidth) -> u64 {
    row.rx_bytes.saturating_add(row.tx_bytes)
}

fn together(a: ProcessBandwidth, b: ProcessBandwidth) -> ProcessBandwidth {
    let both = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        _ => None,
    };
    ProcessBandwidth {
        wire_rx_bytes: both(a.wire_rx_bytes, b.wire_rx_bytes),
        wire_tx_bytes: both(a.wire_tx_bytes, b.wire_tx_bytes),
        source: a.source.filter(|_| a.source == b.source),
        // The least of both, and nothing when one is not known.
        accuracy: a.accuracy.min(b.accuracy),
        ..ProcessBandwidth::network_only(
            OTHER.to_owned(),
            None,
            a.rx_bytes.saturating_add(b.rx_bytes),
            a.tx_bytes.saturating_add(b.tx_bytes),
            a.rx_rate + b.rx_rate,
            a.tx_rate + b.tx_rate,
            a.connection_count.saturating_add(b.connection_count),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Accuracy, Source};

    fn row(name: &str, rx: u64, connections: u32, accuracy: Accuracy) -> ProcessBandwidth {
        ProcessBandwidth {
            source: Some(Source::Ebpf),
            accuracy: Some(accuracy),
            ..ProcessBandwidth::network_only(
                name.into(),
                Some(1),
                rx,
                1,
                rx as f64,
                1.0,
                connections,
            )
        }
    }

    #[test]
    fn what_is_beyond_the_maximum_is_one_row_with_the_worst_accuracy() {
        let rows = vec![
            row("small", 1, 1, Accuracy::LowerBound),
            row("large", 300, 1, Accuracy::Exact),
            row("middle", 20, 4, Accuracy::Exact),
        ];
        let ranked = rank(rows.clone(), 2);
        assert_eq!(ranked[0], rows[1]);
        let other = ProcessBandwidth {
            source: Some(Source::Ebpf),
            accuracy: Some(Accuracy::LowerBound),
            ..ProcessBandwidth::network_only("[other]".into(), None, 21, 2, 21.0, 2.0, 5)
        };
        assert_eq!(ranked[1], other);
        assert_eq!(ranked.len(), 2);
        assert_eq!(rank(rows.clone(), 3).len(), 3);
        assert_eq!(rank(rows, 0), []);
    }

    #[test]
    fn processes_that_moved_nothing_are_left_out_without_a_row_for_them() {
        let idle = |name, connections| ProcessBandwidth {
            tx_bytes: 0,
            ..row(name, 0, connections, Accuracy::Exact)
        };
        let rows = vec![
            idle("one", 1),
            row("moves", 5, 0, Accuracy::Exact),
            idle("two", 2),
        ];
        let names: Vec<_> = rank(rows, 2)
            .into_iter()
            .map(|row| row.process_name)
            .collect();
        assert_eq!(names, ["moves", "two"]);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_same_whatever_the_maximum(
            bytes in proptest::collection::vec(0_u64..1 << 50, 0..40), max in 1_usize..50,
        ) {
            let rows: Vec<_> = bytes.iter().map(|&rx| row("p", rx, 1, Accuracy::Exact)).collect();
            let ranked = rank(rows, max);
            prop_assert!(ranked.len() <= max);
            let sum: u64 = ranked.iter().map(|row| row.rx_bytes).sum();
            prop_assert_eq!(sum, bytes.iter().sum::<u64>());
        }
    }
}
