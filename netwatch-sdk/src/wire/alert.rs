//! What a detector reports.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How urgent an [`Alert`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    /// Worth a look.
    Warning,
    /// Likely hostile or harmful.
    Critical,
}

/// Which detector raised an [`Alert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertCategory {
    /// One source tried many ports.
    PortScan,
    /// Connections at suspiciously regular intervals.
    Beaconing,
    /// Data hidden in DNS names.
    DnsTunnel,
    /// An interface stayed above its configured rate.
    Bandwidth,
}

impl AlertCategory {
    /// A short label for people.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PortScan => "Port Scan",
            Self::Beaconing => "Beaconing",
            Self::DnsTunnel => "DNS Tunnel",
            Self::Bandwidth => "Bandwidth",
        }
    }
}

/// One finding of a detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// How urgent it is.
    pub severity: AlertSeverity,
    /// Which detector raised it.
    pub category: AlertCategory,
    /// One line for people.
    pub message: String,
    /// The figures behind the message.
    pub detail: String,
    /// When it was raised.
    pub timestamp: DateTime<Utc>,
}
