//! One reader of a collector.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex},
    time::Instant,
};

use super::{Collector, lock, pending::Pending, rows};
use crate::{
    Result,
    reading::{Attribution, Payload, Reading, WireBytes},
    wire::Snapshot,
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
    previous: HashMap<Attribution, Totals>,
    since: Instant,
}

impl Reader {
    pub(super) fn new(collector: Collector, pending: Arc<Mutex<Pending>>) -> Self {
        Self {
            collector,
            pending,
            previous: HashMap::new(),
            since: Instant::now(),
        }
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
        let mut reading = self.collector.read()?;
        let pending = mem::take(&mut *lock(&self.pending));
        reading.closed = pending.closed;
        reading.lost.closed_rows += pending.overflow;
        reading.processes.retain(|process| process.alive);
        reading.processes.extend(pending.exited.into_values());
        Ok(reading)
    }

    /// What moved since this reader's previous reading, as it goes over the wire.
    /// Fills the interfaces, connections and processes.
    ///
    /// # Errors
    ///
    /// When nothing could be read.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let reading = self.read()?;
        let elapsed = reading.taken_at.saturating_duration_since(self.since);
        let snapshot = rows::snapshot(&reading, &self.previous, elapsed);
        self.since = reading.taken_at;
        self.previous = reading
            .processes
            .iter()
            .map(|process| {
                let totals = Totals {
                    payload: process.payload,
                    wire: process.wire,
                };
                (process.id, totals)
            })
            .collect();
        Ok(snapshot)
    }
}
