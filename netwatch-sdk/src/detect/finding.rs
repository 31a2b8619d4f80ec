//! What a detector found.

use std::fmt;

use chrono::{DateTime, Utc};

use super::{actors::Actors, event::Host};
use crate::{
    reading::Pid,
    wire::{Alert, AlertCategory, AlertSeverity},
};

/// Which detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// One source tried many ports.
    PortScan,
    /// Connections at regular intervals.
    Beaconing,
    /// Data hidden in DNS names.
    DnsTunnel,
    /// An interface above its threshold.
    Bandwidth,
    /// Many segments sent again to one peer.
    RetransmitStorm,
    /// Many connections that failed.
    FailedConnections,
}

impl Signal {
    /// Its category on the wire; `None` for the signals that the wire contract has no name for.
    #[must_use]
    pub const fn category(self) -> Option<AlertCategory> {
        match self {
            Self::PortScan => Some(AlertCategory::PortScan),
            Self::Beaconing => Some(AlertCategory::Beaconing),
            Self::DnsTunnel => Some(AlertCategory::DnsTunnel),
            Self::Bandwidth => Some(AlertCategory::Bandwidth),
            Self::RetransmitStorm | Self::FailedConnections => None,
        }
    }

    /// A short label for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PortScan => AlertCategory::PortScan.label(),
            Self::Beaconing => AlertCategory::Beaconing.label(),
            Self::DnsTunnel => AlertCategory::DnsTunnel.label(),
            Self::Bandwidth => AlertCategory::Bandwidth.label(),
            Self::RetransmitStorm => "Retransmit Storm",
            Self::FailedConnections => "Failed Connections",
        }
    }
}

/// What a finding is about. One subject has at most one active finding of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A host.
    Host(Host),
    /// A process of this host.
    Process(Pid),
    /// Connections from one host to a port of another.
    Flow {
        /// From.
        source: Host,
        /// To.
        destination: Host,
        /// At.
        port: u16,
    },
    /// A domain, without a trailing dot.
    Domain(String),
    /// An interface.
    Interface {
        /// Its name.
        name: String,
        /// The how manieth time it went above, from 0. Each time is a finding of its own.
        occurrence: u64,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Process(pid) => write!(f, "pid {pid}"),
            Self::Flow {
                source,
                destination,
                port,
            } => write!(f, "{source} to {}", destination.with_port(*port)),
            Self::Domain(name) | Self::Interface { name, .. } => f.write_str(name),
        }
    }
}

/// One finding of a detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which detector.
    pub signal: Signal,
    /// How urgent.
    pub severity: AlertSeverity,
    /// About what.
    pub subject: Subject,
    /// The processes behind it.
    pub actors: Actors,
    /// One line for people, naming the process where there is one.
    pub message: String,
    /// The figures behind the message.
    pub detail: String,
}

impl Finding {
    /// The finding as the wire has it; `None` when the wire has no category for it.
    #[must_use]
    pub fn to_alert(&self, timestamp: DateTime<Utc>) -> Option<Alert> {
        Some(Alert {
            severity: self.severity,
            category: self.signal.category()?,
            message: self.message.clone(),
            detail: self.detail.clone(),
            timestamp,
        })
    }
}
