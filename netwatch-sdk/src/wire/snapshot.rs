//! One reading of a host.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Alert, ConnectionDetail, DiskIo, DiskUsage, DnsAnalytics, InterfaceMetric, ProcessBandwidth,
};

/// Everything read of a host at one moment. A part that is `None` was not read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was read.
    pub timestamp: DateTime<Utc>,
    /// Network interfaces.
    pub interfaces: Vec<InterfaceMetric>,
    /// Reachability of gateway and DNS server.
    pub health: Option<HealthMetric>,
    /// Established connections.
    pub connection_count: Option<u32>,
    /// CPU, memory, load.
    pub system: Option<SystemMetric>,
    /// File systems.
    pub disk_usage: Option<Vec<DiskUsage>>,
    /// Disk traffic.
    pub disk_io: Option<DiskIo>,
    /// TCP sockets in TIME-WAIT.
    pub tcp_time_wait: Option<u32>,
    /// TCP sockets in CLOSE-WAIT.
    pub tcp_close_wait: Option<u32>,
    /// Traffic per process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<ProcessBandwidth>>,
    /// Sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Vec<ConnectionDetail>>,
    /// Findings of the detectors that are still active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<Alert>>,
    /// DNS figures since the collector started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_analytics: Option<DnsAnalytics>,
}

/// Reachability of the default gateway and the DNS server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthMetric {
    /// Default gateway.
    pub gateway_ip: Option<String>,
    /// Round-trip time, milliseconds.
    pub gateway_rtt_ms: Option<f64>,
    /// Probes lost, percent.
    pub gateway_loss_pct: Option<f64>,
    /// First DNS server.
    pub dns_ip: Option<String>,
    /// Round-trip time, milliseconds.
    pub dns_rtt_ms: Option<f64>,
    /// Probes lost, percent.
    pub dns_loss_pct: Option<f64>,
    /// The last gateway times, at most 60, oldest first; `None` where lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_rtt_history: Option<Vec<Option<f64>>>,
    /// The last DNS server times, at most 60, oldest first; `None` where lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_rtt_history: Option<Vec<Option<f64>>>,
}

/// CPU, memory and load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemMetric {
    /// CPU use of all cores, percent.
    pub cpu_usage_pct: Option<f64>,
    /// Physical memory.
    pub memory_total_bytes: Option<u64>,
    /// Memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Memory that can be had without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Load average, 1 minute.
    pub load_avg_1m: Option<f64>,
    /// Load average, 5 minutes.
    pub load_avg_5m: Option<f64>,
    /// Load average, 15 minutes.
    pub load_avg_15m: Option<f64>,
    /// Swap space.
    pub swap_total_bytes: Option<u64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
    /// CPU use per core, percent.
    pub cpu_per_core: Option<Vec<f64>>,
}
