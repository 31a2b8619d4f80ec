//! Disks.

use serde::{Deserialize, Serialize};

/// Space on one mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted.
    pub device: String,
    /// Size.
    pub total_bytes: u64,
    /// In use.
    pub used_bytes: u64,
    /// Free for an unprivileged user.
    pub available_bytes: u64,
    /// Percent in use.
    pub usage_pct: f64,
}

/// Bytes moved by all disks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIo {
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub write_bytes: u64,
}
