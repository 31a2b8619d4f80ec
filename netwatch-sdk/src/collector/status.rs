//! How a collector is doing.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::reading::{Lost, Source};

/// What runs, why nothing better does, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The backend that measures.
    pub source: Source,
    /// The way payload bytes are counted, where the backend has several.
    pub hook: Option<&'static str>,
    /// What would be better, and why it does not run.
    pub refused: Vec<Refusal>,
    /// Why figures are less than exact, or sockets missing; empty when nothing is.
    pub limits: Vec<String>,
    /// Packets: where they are counted, or why they are not.
    pub packets: Packets,
    /// How full the maps in the kernel are.
    pub maps: Vec<MapPressure>,
    /// What could not be read, attributed or stored so far.
    pub lost: Lost,
    /// Time it took to start.
    #[serde(rename = "start_cost_us", serialize_with = "micros")]
    pub start_cost: Duration,
    /// Time the last reading took.
    #[serde(rename = "read_cost_us", serialize_with = "micros")]
    pub read_cost: Duration,
    /// Readings so far.
    pub readings: u64,
}

impl Status {
    /// What a backend starts from; the collector fills in the costs.
    pub(crate) fn of(source: Source) -> Self {
        Self {
            source,
            hook: None,
            refused: Vec::new(),
            limits: Vec::new(),
            packets: Packets::NotCounted(String::new()),
            maps: Vec::new(),
            lost: Lost::default(),
            start_cost: Duration::ZERO,
            read_cost: Duration::ZERO,
            readings: 0,
        }
    }
}

/// Something better that does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A backend or a hook.
    pub what: String,
    /// The cause and the way out.
    pub why: String,
}

/// Whether packets are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Packets {
    /// Below this cgroup.
    Counted(String),
    /// For this reason.
    NotCounted(String),
}

/// How full a map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MapPressure {
    /// The map's name.
    pub name: &'static str,
    /// Entries in it at the last reading.
    pub used: u64,
    /// Entries it has room for.
    pub capacity: u64,
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
