//! One network interface.

use serde::{Deserialize, Serialize};

/// Counters and rates of one interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceMetric {
    /// Kernel name.
    pub name: String,
    /// Administratively and operationally up.
    pub is_up: bool,
    /// Bytes received since it appeared.
    pub rx_bytes: u64,
    /// Bytes sent since it appeared.
    pub tx_bytes: u64,
    /// Bytes received since the previous sample.
    pub rx_bytes_delta: u64,
    /// Bytes sent since the previous sample.
    pub tx_bytes_delta: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Transmit errors.
    pub tx_errors: u64,
    /// Received packets dropped.
    pub rx_drops: u64,
    /// Packets to send dropped.
    pub tx_drops: u64,
    /// Bytes a second; `None` on the first sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate: Option<f64>,
    /// Bytes a second; `None` on the first sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate: Option<f64>,
    /// The last receive rates, at most 60, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_history: Option<Vec<u64>>,
    /// The last transmit rates, at most 60, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_history: Option<Vec<u64>>,
}
