//! One process.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Accuracy, Source};

/// What one process moved since the previous reading.
///
/// Rows whose name is in brackets (`[kernel]`, `[unknown]`) carry bytes that
/// belong to no process and have no `pid`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessBandwidth {
    /// The process's name, at most 15 bytes of it on Linux.
    pub process_name: String,
    /// Process id (Linux: tgid).
    pub pid: Option<u32>,
    /// Payload bytes received since the previous reading.
    pub rx_bytes: u64,
    /// Payload bytes sent since the previous reading.
    pub tx_bytes: u64,
    /// Payload bytes received a second, over the measured time.
    pub rx_rate: f64,
    /// Payload bytes sent a second, over the measured time.
    pub tx_rate: f64,
    /// Sockets the process owns.
    pub connection_count: u32,
    /// Parent process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Name of the user it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// CPU use, percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pct: Option<f64>,
    /// Resident memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_rss_bytes: Option<u64>,
    /// Virtual memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_virt_bytes: Option<u64>,
    /// Scheduler state, one letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// Path of the executable; never its arguments, which can hold secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<String>,
    /// IP bytes received since the previous reading, headers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rx_bytes: Option<u64>,
    /// IP bytes sent since the previous reading, headers and retransmissions included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_tx_bytes: Option<u64>,
    /// The process's cgroup v2 path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container the cgroup path names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// What measured the figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How close the byte figures are to the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
}

impl ProcessBandwidth {
    /// A row with the network figures only.
    #[must_use]
    pub fn network_only(
        process_name: String,
        pid: Option<u32>,
        rx_bytes: u64,
        tx_bytes: u64,
        rx_rate: f64,
        tx_rate: f64,
        connection_count: u32,
    ) -> Self {
        Self {
            process_name,
            pid,
            rx_bytes,
            tx_bytes,
            rx_rate,
            tx_rate,
            connection_count,
            ppid: None,
            user: None,
            cpu_pct: None,
            mem_rss_bytes: None,
            mem_virt_bytes: None,
            state: None,
            started_at: None,
            cmd: None,
            wire_rx_bytes: None,
            wire_tx_bytes: None,
            cgroup: None,
            container_id: None,
            source: None,
            accuracy: None,
        }
    }
}
