//! The JSON contract between an agent and a server.
//!
//! Plain data, no OS access: a server depends on this crate with
//! `default-features = false` and gets these types only. The shapes are those
//! that `netwatch-sdk` 0.4.1 published; fields added since are optional and
//! absent from the JSON when `None`. Unknown fields are ignored when reading.

mod alert;
mod connection;
mod disk;
mod dns;
mod ingest;
mod interface;
mod process;
mod quality;
mod snapshot;

pub use alert::{Alert, AlertCategory, AlertSeverity};
pub use connection::ConnectionDetail;
pub use disk::{DiskIo, DiskUsage};
pub use dns::DnsAnalytics;
pub use ingest::{HostInfo, IngestRequest, IngestResponse, SnapshotResult};
pub use interface::InterfaceMetric;
pub use process::ProcessBandwidth;
pub use quality::{Accuracy, Source};
pub use snapshot::{HealthMetric, Snapshot, SystemMetric};
