//! The typed API: a running collector, its readers and its status.
//!
//! ```no_run
//! use std::{thread, time::Duration};
//!
//! # fn main() -> netwatch_sdk::Result<()> {
//! let collector = netwatch_sdk::Collector::start()?;
//! let mut reader = collector.reader();
//! loop {
//!     thread::sleep(Duration::from_secs(1));
//!     for process in reader.snapshot()?.processes.into_iter().flatten() {
//!         println!("{:<16} {:>12} B out {:>12} B in", process.process_name, process.tx_bytes, process.rx_bytes);
//!     }
//! }
//! # }
//! ```

mod builder;
mod detection;
#[cfg_attr(
    not(all(feature = "ebpf", target_os = "linux")),
    allow(dead_code, reason = "only kernel programs give events")
)]
mod events;
mod health;
mod hook;
mod host;
mod host_parts;
mod ladder;
mod pace;
mod pending;
mod reader;
mod rows;
mod status;
mod stream;
mod time_wait;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

pub use self::{
    builder::{Backend, Builder},
    detection::Intelligence,
    events::{EventStream, Events},
    hook::Hook,
    host::{Check, Host},
    pace::Pace,
    reader::Reader,
    status::{MapPressure, Packets, Refusal, Status},
    stream::Snapshots,
};
use self::{detection::Detection, events::Hub, ladder::Ladder, pending::Pending};
pub(crate) use self::{rows::connection_row, time_wait::count_time_wait};
use crate::{
    Result,
    backend::Measure,
    reading::{Lost, Reading},
    wire::Snapshot,
};

/// Kernel programs or another way of measuring, running until this and every
/// [`Reader`] of it are dropped.
///
/// Cheap to clone: all clones are the same collector.
#[derive(Debug, Clone)]
pub struct Collector {
    core: Arc<Mutex<Core>>,
}

/// What all readers share.
#[derive(Debug)]
struct Core {
    backend: Box<dyn Measure>,
    /// `None` when the backend has no events.
    hub: Option<Arc<Hub>>,
    ladder: Ladder,
    /// Grows when another backend takes over, whose totals begin at 0.
    generation: u64,
    readers: Vec<Weak<Mutex<Pending>>>,
    /// `None` when nothing is to be detected.
    detection: Option<Detection>,
    lost: Lost,
    start_cost: Duration,
    read_cost: Duration,
    readings: u64,
}

impl Collector {
    /// Starts the best backend of this host with default settings.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Settings to start from.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start_on(mut ladder: Ladder, detection: Option<Detection>, began: Instant) -> Result<Self> {
        let backend = ladder.next()?;
        let hub = backend.feed().map(Hub::new);
        Ok(Self {
            core: Arc::new(Mutex::new(Core {
                backend,
                hub,
                ladder,
                generation: 0,
                readers: Vec::new(),
                detection,
                lost: Lost::default(),
                start_cost: began.elapsed(),
                read_cost: Duration::ZERO,
                readings: 0,
            })),
        })
    }

    /// A reader with its own "previous reading", which is now. Readers do not
    /// disturb each other: each gets every byte and every closed socket.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let pending = Arc::new(Mutex::new(Pending::default()));
        let mut core = lock(&self.core);
        core.readers.push(Arc::downgrade(&pending));
        core.watch();
        drop(core);
        Reader::new(self.clone(), pending)
    }

    /// What runs, why nothing better does, and what it costs.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = lock(&self.core);
        let mut status = core.backend.status();
        let mut refused = core.ladder.refused().to_vec();
        refused.append(&mut status.refused);
        let mut lost = core.lost;
        if let Some(hub) = &core.hub {
            lost.events = hub.lost();
        }
        let why_not = core.detection.as_ref().and_then(Detection::why_not);
        if let Some(why) = why_not {
            status
                .limits
                .push(format!("the detectors see no connections: {why}"));
        }
        Status {
            refused,
            lost,
            start_cost: core.start_cost,
            read_cost: core.read_cost,
            readings: core.readings,
            ..status
        }
    }

    /// What the detectors have found so far, up to now; `None` when they are off.
    ///
    /// # Errors
    ///
    /// When the backend's events cannot be read.
    pub fn intelligence(&self) -> Result<Option<Intelligence>> {
        let core = &mut *lock(&self.core);
        core.watch();
        let Some(detection) = &mut core.detection else {
            return Ok(None);
        };
        detection.feed(&mut *core.backend, core.hub.as_deref())?;
        Ok(Some(detection.intelligence()))
    }

    /// Fills in what the detectors know; see [`Detection::fill`].
    fn fill(&self, snapshot: &mut Snapshot, seen: &mut u64) {
        if let Some(detection) = &mut lock(&self.core).detection {
            detection.fill(snapshot, seen);
        }
    }

    /// Everything as it is now, for callers that need nothing of before.
    pub(crate) fn read_once(&self) -> Result<Reading> {
        self.read().map(|(_, reading)| reading)
    }

    /// Reads the backend and gives every reader what it has not seen. A backend that
    /// fails is replaced by the next best.
    fn read(&self) -> Result<(u64, Reading)> {
        let mut core = lock(&self.core);
        let began = Instant::now();
        let reading = loop {
            match core.read() {
                Ok(reading) => break reading,
                Err(failure) => {
                    let status = core.backend.status();
                    core.backend = core.ladder.step_down(status, failure)?;
                    let hub = core.backend.feed().map(Hub::new);
                    if let Some(ended) = std::mem::replace(&mut core.hub, hub) {
                        ended.end();
                    }
                    if let Some(detection) = &mut core.detection {
                        detection.unwatch();
                    }
                    core.watch();
                    core.generation += 1;
                }
            }
        };
        core.read_cost = began.elapsed();
        core.readings += 1;
        core.lost = reading.lost;
        core.readers.retain(|reader| {
            let Some(pending) = reader.upgrade() else {
                return false;
            };
            lock(&pending).absorb(&reading);
            true
        });
        Ok((core.generation, reading))
    }
}

impl Core {
    /// The detectors ask for events, if there are both.
    fn watch(&mut self) {
        if let (Some(detection), Some(hub)) = (&mut self.detection, &self.hub) {
            detection.watch(hub);
        }
    }

    fn read(&mut self) -> Result<Reading> {
        let reading = self.backend.read()?;
        if let Some(detection) = &mut self.detection {
            detection.feed(&mut *self.backend, self.hub.as_deref())?;
            detection.feed_reading(&reading);
        }
        Ok(reading)
    }
}

/// A panic elsewhere while the lock was held leaves plain data behind: go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
