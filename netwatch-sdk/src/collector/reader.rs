//! One reader of a collector.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    Collector, host_parts::HostParts, lock, pace::Pace, pending::Pending, rows,
    time_wait::count_time_wait,
};
use crate::{
    Result,
    reading::{Attribution, Payload, Reading, WireBytes},
    wire::{ConnectionDetail, HealthMetric, Snapshot},
};

/// Cumulative figures of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) payload: Payload,
    pub(super) wire: Option<WireBytes>,
}

/// One reader of a [`Collector`], with its own previous reading.
#[derive(Debug)]
pub struct Reader {
    collector: Collector,
    pending: Arc<Mutex<Pending>>,
    generation: u64,
    /// `None` before the first reading.
    previous: Option<HashMap<Attribution, Totals>>,
    since: Instant,
    host: HostParts,
    pace: Pace,
    /// How many alerts were raised up to the previous snapshot.
    alerts_seen: u64,
}

impl Reader {
    pub(super) fn new(collector: Collector, pending: Arc<Mutex<Pending>>) -> Self {
        let mut reader = Self {
            collector,
            pending,
            generation: 0,
            previous: None,
            since: Instant::now(),
            host: HostParts::default(),
            pace: Pace::default(),
            alerts_seen: 0,
        };
        // When this fails, so will the first reading, which then is what others count from.
        if let Ok(reading) = reader.read() {
            reader.count_from(&reading);
        }
        reader
    }

    fn count_from(&mut self, reading: &Reading) {
        let totals = reading.processes.iter().map(|process| {
            let totals = Totals {
                payload: process.payload,
                wire: process.wire,
            };
            (process.id, totals)
        });
        self.previous = Some(totals.collect());
        self.since = reading.taken_at;
    }

    /// Reads the host's slower parts at this pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The collector it reads.
    #[must_use]
    pub fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Typed figures, cumulative since the collector started; closed sockets and
    /// exited processes are those since this reader's previous reading.
    ///
    /// # Errors
    ///
    /// When nothing could be read.
    pub fn read(&mut self) -> Result<Reading> {
        let (generation, mut reading) = self.collector.read()?;
        if generation != self.generation {
            self.generation = generation;
            self.previous = Some(HashMap::new());
        }
        let pending = mem::take(&mut *lock(&self.pending));
        reading.closed = pending.closed;
        reading.lost.closed_rows += pending.overflow;
        reading.processes.retain(|process| process.alive);
        reading.processes.extend(pending.exited.into_values());
        Ok(reading)
    }

    /// Everything, as it goes over the wire: what moved since this reader's previous
    /// snapshot, and the state of the host.
    ///
    /// `health` is `None` until the first probes have come back, about 3 s after the
    /// first snapshot ([`wait_for_health`](Self::wait_for_health)). `alerts` holds those
    /// that are active and those raised since this reader's previous snapshot; it and
    /// `dns_analytics` are `None` where the backend sees no events, or the detectors are
    /// off. What could not be read is in [`gaps`](Self::gaps).
    ///
    /// # Errors
    ///
    /// When the sockets could not be read.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = self.network()?;
        self.fill(&mut snapshot);
        Ok(snapshot)
    }

    /// A snapshot whose connections are handed out one by one, all in the same memory:
    /// `connections` is `None`, and `row` is called with each. At ten thousand sockets
    /// this takes half the memory of [`snapshot`](Self::snapshot), and less time.
    ///
    /// # Errors
    ///
    /// When the sockets could not be read; `row` has not been called then.
    pub fn snapshot_by_row(&mut self, row: impl FnMut(&ConnectionDetail)) -> Result<Snapshot> {
        let (reading, mut snapshot) = self.network_without_connections()?;
        rows::each_connection(reading, row);
        self.fill(&mut snapshot);
        Ok(snapshot)
    }

    /// Adds what is not about sockets.
    fn fill(&mut self, snapshot: &mut Snapshot) {
        self.host.fill(snapshot, &self.pace);
        self.collector.fill(snapshot, &mut self.alerts_seen);
    }

    /// Waits for probes of gateway and DNS server that are under way, at most so
    /// long, and returns the last; `None` when none has come back.
    #[must_use]
    pub fn wait_for_health(&self, at_most: Duration) -> Option<HealthMetric> {
        self.host.wait_for_health(at_most)
    }

    /// What is missing from the last snapshot, and why; empty when nothing is.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        self.host.gaps()
    }

    /// The connections and processes of a snapshot only, which is cheaper.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot).
    pub fn network(&mut self) -> Result<Snapshot> {
        let (reading, mut snapshot) = self.network_without_connections()?;
        snapshot.connections = Some(rows::connections(reading));
        Ok(snapshot)
    }

    fn network_without_connections(&mut self) -> Result<(Reading, Snapshot)> {
        let reading = self.read()?;
        let previous = match self.previous.take() {
            Some(previous) => previous,
            None => {
                self.count_from(&reading);
                self.previous.take().unwrap_or_default()
            }
        };
        let elapsed = reading.taken_at.saturating_duration_since(self.since);
        let time_wait = count_time_wait(&reading);
        self.count_from(&reading);
        let mut snapshot = rows::snapshot(&reading, &previous, elapsed);
        snapshot.tcp_time_wait = self.host.keep_time_wait(time_wait);
        Ok((reading, snapshot))
    }
}
