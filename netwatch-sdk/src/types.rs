//! The wire types under the path that `netwatch-sdk` 0.4.1 published.

pub use crate::wire::{
    HealthMetric, HostInfo, IngestRequest, IngestResponse, InterfaceMetric, Snapshot,
    SnapshotResult, SystemMetric,
};
