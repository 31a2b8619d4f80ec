//! Where a figure comes from and what it is worth.

use serde::{Deserialize, Serialize};

/// The mechanism that measured a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// Kernel programs that count every call and packet.
    Ebpf,
    /// The kernel's socket diagnostics (netlink `sock_diag`).
    SockDiag,
    /// The command `ss`.
    Ss,
    /// The macOS command `nettop`.
    Nettop,
    /// The macOS command `lsof`: sockets and owners, no bytes.
    Lsof,
    /// Interface totals divided by connection count.
    ConnectionShare,
}

/// How close a figure is to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accuracy {
    /// A guess from something related.
    Estimate,
    /// At least this much; some may be missing.
    LowerBound,
    /// Every byte, once.
    Exact,
}
