//! The counters of one interface.

/// Counters of one network interface since it appeared, as the kernel keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Kernel name.
    pub name: String,
    /// Bytes received, link headers included.
    pub rx_bytes: u64,
    /// Bytes sent, link headers included.
    pub tx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Transmit errors.
    pub tx_errors: u64,
    /// Received packets dropped. macOS counts only drops on sending: 0 there.
    pub rx_drops: u64,
    /// Packets to send dropped.
    pub tx_drops: u64,
    /// Administratively up, and operationally up as far as the driver tells.
    pub is_up: bool,
}
