//! One socket.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Source};

/// One socket: open now, or closed since the previous reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionDetail {
    /// `TCP`, `UDP`, …
    pub protocol: String,
    /// `address:port`, IPv6 in brackets.
    pub local_addr: String,
    /// `address:port`, or `*:*` when the socket is not connected.
    pub remote_addr: String,
    /// `ESTABLISHED`, `LISTEN`, `UNCONN`, …
    pub state: String,
    /// The owner; `None` when no process owns it or none was found.
    pub pid: Option<u32>,
    /// The owner's name.
    pub process_name: Option<String>,
    /// Smoothed round-trip time, microseconds; `None` unless TCP and measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_rtt_us: Option<f64>,
    /// Payload bytes received over the socket's life; `None` when not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Payload bytes sent over the socket's life; `None` when not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    /// Received IP bytes, headers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rx_bytes: Option<u64>,
    /// Sent IP bytes, headers and retransmissions included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_tx_bytes: Option<u64>,
    /// Received IP packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rx_packets: Option<u64>,
    /// Sent IP packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_tx_packets: Option<u64>,
    /// Of `wire_rx_bytes` and `wire_tx_bytes` together, what crossed loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback_bytes: Option<u64>,
    /// Mean deviation of the round-trip time, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_var_us: Option<f64>,
    /// Smallest round-trip time of the kernel's window, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_min_us: Option<f64>,
    /// TCP segments sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// `outgoing`, `incoming` or `listening`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The user id the socket was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The kernel's name for the socket, unique until reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Cookie of the network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_cookie: Option<u64>,
    /// Inode of the network namespace, as `/proc/PID/ns/net` and `lsns` show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_inode: Option<u32>,
    /// The cgroup the socket was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// `true` on the one row that reports a socket's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// What measured the figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How close `rx_bytes` and `tx_bytes` are to the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
}
