//! What a backend reads: sockets, processes and what it could not read.
//!
//! Every backend fills the same types. Byte counts are cumulative and never
//! reset by reading; a difference of two readings is what moved between them.

pub(crate) mod closed_port;
pub(crate) mod dns;
mod process;
mod socket;

use std::time::Instant;

use chrono::{DateTime, Utc};

pub use process::{Attribution, Pid, Process, ProcessId};
pub use socket::{
    Direction, Netns, Payload, Protocol, Rtt, Socket, SocketId, SocketState, WireBytes,
};

pub use crate::wire::{Accuracy, Source};

/// One reading of all sockets and processes of a host.
#[derive(Debug, Clone)]
pub struct Reading {
    /// For rates.
    pub taken_at: Instant,
    /// For people.
    pub timestamp: DateTime<Utc>,
    /// What measured it.
    pub source: Source,
    /// The sockets that are open.
    pub open: Vec<Socket>,
    /// The sockets that closed since the backend's previous reading, with their last figures.
    pub closed: Vec<Socket>,
    /// Every process that moved bytes or owns a socket, and the bracketed
    /// buckets for bytes that belong to none.
    pub processes: Vec<Process>,
    /// What is missing from this reading.
    pub lost: Lost,
}

/// What could not be read, attributed or stored, since the backend started.
///
/// All zero means that nothing is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Lost {
    /// Received payload bytes that reached no process's total; they are in the row
    /// `[unattributed]`.
    pub unattributed_rx_bytes: u64,
    /// Sent payload bytes, likewise.
    pub unattributed_tx_bytes: u64,
    /// Packet bytes of closed sockets that reached no process's total.
    pub unattributed_wire_bytes: u64,
    /// Payload bytes that a better source shows moved and the hooks did not see.
    pub unseen_bytes: u64,
    /// Closed sockets whose own row was lost; their bytes are in the process's total.
    pub closed_rows: u64,
    /// Events that no subscriber got, because the kernel's buffer for them was full.
    pub events: u64,
    /// Calls on a socket that could not be tracked; their bytes are in the process's total.
    /// With the hook `kprobe` they may be missing, and payload is a lower bound from then on.
    pub untracked_calls: u64,
    /// Packets of a socket that could not be tracked; their bytes are counted nowhere.
    pub untracked_packets: u64,
    /// DNS messages that were not looked at: no room, or behind another in one
    /// segmented send.
    pub dns_messages: u64,
    /// Attempts at closed ports of this host that had no room until the next reading: the
    /// port-scan detector did not see them.
    pub closed_ports: u64,
    /// Runs of kernel programs that the kernel skipped, because the program was running
    /// already on the same processor, and that no other program made up for;
    /// [`Status::limits`](crate::Status::limits) says of which.
    /// When bytes may be missing, no figure of payload is exact from then on. From the
    /// kernel's `bpf_prog_info.recursion_misses`. Stays 0 where the kernel skips
    /// without counting: kprobes before Linux 6.7.
    pub missed_runs: u64,
    /// Lines, records or files that could not be read.
    pub unreadable: u64,
}

impl Lost {
    /// `true` when nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
