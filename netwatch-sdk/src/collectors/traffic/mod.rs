//! Counters and rates of network interfaces.
//!
//! [`InterfaceRateTracker`] turns the counters of
//! [`collect_interface_stats`] into rates over the
//! measured time, with a history of the last [`RATE_HISTORY_LEN`]. It copes
//! with counters that start again, 32-bit counters that wrap, and interfaces
//! that come and go. Nothing sleeps; the first sample has no rates.

mod counter;
mod history;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use self::history::RateHistory;
use crate::{
    Result,
    platform::{InterfaceStats, collect_interface_stats},
    wire::InterfaceMetric,
};

/// How many rates an interface's history holds.
pub const RATE_HISTORY_LEN: usize = 60;

/// The previous counters of every interface, and their recent rates.
#[derive(Debug, Default)]
pub struct InterfaceRateTracker {
    interfaces: HashMap<String, Tracked>,
}

#[derive(Debug)]
struct Tracked {
    taken_at: Instant,
    rx_bytes: u64,
    tx_bytes: u64,
    rx_rates: RateHistory,
    tx_rates: RateHistory,
}

/// What one interface moved between two readings, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rates {
    rx_delta: u64,
    tx_delta: u64,
    /// Bytes a second; `None` when no time passed.
    rx: Option<f64>,
    tx: Option<f64>,
}

impl InterfaceRateTracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [`sample_at`](Self::sample_at) now.
    pub fn sample(&mut self, stats: &HashMap<String, InterfaceStats>) -> Vec<InterfaceMetric> {
        self.sample_at(Instant::now(), stats)
    }

    /// The metrics of counters that were read at `now`, sorted by name.
    ///
    /// An interface that is new, or was away in the previous sample, has no
    /// rates yet. One that is not in `stats` is forgotten.
    pub fn sample_at(
        &mut self,
        now: Instant,
        stats: &HashMap<String, InterfaceStats>,
    ) -> Vec<InterfaceMetric> {
        self.interfaces.retain(|name, _| stats.contains_key(name));
        let mut metrics: Vec<_> = stats
            .iter()
            .map(|(name, stats)| self.metric(now, name, stats))
            .collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    fn metric(&mut self, now: Instant, name: &str, stats: &InterfaceStats) -> InterfaceMetric {
        let previous = self.interfaces.remove(name);
        let rates = previous.as_ref().map(|previous| {
            let elapsed = now.saturating_duration_since(previous.taken_at);
            rates((previous.rx_bytes, previous.tx_bytes), stats, elapsed)
        });
        let (mut rx_rates, mut tx_rates) =
            previous.map_or_else(Default::default, |known| (known.rx_rates, known.tx_rates));
        rx_rates.extend(rates.and_then(|rates| rates.rx));
        tx_rates.extend(rates.and_then(|rates| rates.tx));
        let metric = InterfaceMetric {
            name: name.to_owned(),
            is_up: stats.is_up,
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            rx_bytes_delta: rates.map_or(0, |rates| rates.rx_delta),
            tx_bytes_delta: rates.map_or(0, |rates| rates.tx_delta),
            rx_packets: stats.rx_packets,
            tx_packets: stats.tx_packets,
            rx_errors: stats.rx_errors,
            tx_errors: stats.tx_errors,
            rx_drops: stats.rx_drops,
            tx_drops: stats.tx_drops,
            rx_rate: rates.and_then(|rates| rates.rx),
            tx_rate: rates.and_then(|rates| rates.tx),
            rx_history: rx_rates.snapshot(),
            tx_history: tx_rates.snapshot(),
        };
        let tracked = Tracked {
            taken_at: now,
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            rx_rates,
            tx_rates,
        };
        self.interfaces.insert(name.to_owned(), tracked);
        metric
    }
}

fn rates(previous: (u64, u64), current: &InterfaceStats, elapsed: Duration) -> Rates {
    let per_second =
        |delta: u64| (!elapsed.is_zero()).then(|| delta as f64 / elapsed.as_secs_f64());
    let rx_delta = counter::delta(previous.0, current.rx_bytes, elapsed);
    let tx_delta = counter::delta(previous.1, current.tx_bytes, elapsed);
    Rates {
        rx_delta,
        tx_delta,
        rx: per_second(rx_delta),
        tx: per_second(tx_delta),
    }
}

/// Reads the counters of this host and gives them to `tracker`.
///
/// # Errors
///
/// As [`collect_interface_stats`]; the tracker keeps what it had.
pub fn sample(tracker: &mut InterfaceRateTracker) -> Result<Vec<InterfaceMetric>> {
    let stats = collect_interface_stats()?;
    Ok(tracker.sample(&stats))
}

#[cfg(test)]
mod tests;
