//! What an agent posts, and what the server answers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Snapshot;

/// A batch of snapshots from one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestRequest {
    /// Version of the agent.
    pub agent_version: String,
    /// The host they are about.
    pub host: HostInfo,
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// The host an agent runs on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostInfo {
    /// Chosen by the agent, stable over restarts.
    pub host_id: Uuid,
    /// Host name.
    pub hostname: String,
    /// Operating system and version.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Seconds since boot.
    pub uptime_secs: Option<u64>,
    /// CPU model.
    pub cpu_model: Option<String>,
    /// Logical cores.
    pub cpu_cores: Option<u32>,
    /// Physical memory.
    pub memory_total_bytes: Option<u64>,
}

/// The server's answer to an [`IngestRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestResponse {
    /// Snapshots stored.
    pub accepted: u32,
    /// Snapshots refused.
    pub rejected: u32,
    /// The host they were stored under.
    pub host_id: Uuid,
    /// One per snapshot.
    pub results: Vec<SnapshotResult>,
}

/// What became of one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotResult {
    /// Its place in the request.
    pub index: usize,
    /// As an HTTP status.
    pub status: u16,
    /// Why.
    pub message: String,
}
