//! Processes as the byte counts see them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Accuracy, Payload, WireBytes};

/// A process id: what `getpid` returns, the kernel's tgid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process, told apart from an earlier one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its pid.
    pub pid: Pid,
    /// When it started, since boot; `None` where the backend cannot tell.
    pub started: Option<Duration>,
}

/// Whom bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    /// A process.
    Process(ProcessId),
    /// The kernel itself: NFS, tunnels, resets and other packets of no process.
    Kernel,
    /// Some process, but which one is not known.
    Unknown,
    /// A process that the backend had no room to keep; see [`Lost`](super::Lost).
    Unattributed,
}

/// What one process moved since the backend started.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Whom the figures belong to.
    pub id: Attribution,
    /// The process's name; in brackets for the buckets.
    pub name: String,
    /// Payload bytes its calls moved.
    pub payload: Payload,
    /// IP bytes of the sockets it owns; `None` where not measured.
    pub wire: Option<WireBytes>,
    /// Open sockets it owns.
    pub sockets: u32,
    /// The cgroup it was in when last seen; `None` where not known.
    pub cgroup_id: Option<u64>,
    /// That cgroup's path; `None` also when it was gone before it was looked up.
    pub cgroup: Option<String>,
    /// How close `payload` is to the truth.
    pub accuracy: Accuracy,
    /// `false` once it has exited.
    pub alive: bool,
}
