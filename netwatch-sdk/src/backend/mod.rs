//! The ways of measuring sockets and processes, best first.
//!
//! | module | source | where |
//! |---|---|---|
//! | `ebpf` | kernel programs | Linux on x86_64 and aarch64, feature `ebpf` |
//! | `sock_diag` | netlink socket diagnostics | Linux |
//! | `ss` | the command `ss` | Linux |
//! | `macos` | `nettop` joined with `lsof`, or `lsof` alone | macOS |
//! | `estimate` | interface totals, shared out by connection count | everywhere |
//!
//! `feed` is how events leave a backend that has them, `map_sizes` what a builder chooses for `ebpf`. `ledger`, `roster`, `id_hash` and `tcp_counters` are what those that see sockets
//! and not calls share; `userspace` starts them.

pub(crate) mod estimate;
#[cfg_attr(
    not(all(feature = "ebpf", target_os = "linux")),
    allow(dead_code, reason = "only kernel programs give events")
)]
pub(crate) mod feed;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) mod id_hash;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod ledger;
#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod loopback;
#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "built and tested everywhere, used on macOS")
)]
mod macos;
pub(crate) mod map_sizes;
#[cfg(target_os = "linux")]
mod roster;
#[cfg(target_os = "linux")]
pub(crate) mod sock_diag;
#[cfg(target_os = "linux")]
pub(crate) mod ss;
#[cfg(target_os = "linux")]
pub(crate) mod tcp_counters;
pub(crate) mod userspace;

#[cfg(all(
    feature = "ebpf",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) mod ebpf;
#[cfg(not(all(
    feature = "ebpf",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[path = "ebpf_disabled.rs"]
pub(crate) mod ebpf;

use std::{fmt::Debug, sync::Arc};

use self::feed::Feed;

use crate::{
    Result,
    collector::Status,
    reading::{Reading, closed_port::ClosedPort, dns::DnsDatagram},
};

/// One way of measuring sockets and processes, running.
pub(crate) trait Measure: Send + Debug {
    /// Takes a reading. Byte counts in it are cumulative since the start.
    ///
    /// # Errors
    ///
    /// When nothing at all could be read; what is partly missing is in [`Reading::lost`].
    fn read(&mut self) -> Result<Reading>;

    /// Hands over the DNS messages since the last time, in the order in which they
    /// passed. `false` where this backend sees none.
    ///
    /// # Errors
    ///
    /// When it should see them and cannot read them.
    fn dns(&mut self, _take: &mut dyn FnMut(DnsDatagram<'_>)) -> Result<bool> {
        Ok(false)
    }

    /// Hands over the attempts at closed ports of this host since the last time, in the order
    /// of time: of each source at each port the first.
    ///
    /// # Errors
    ///
    /// When it should see them and cannot read them.
    fn closed_ports(&mut self, _take: &mut dyn FnMut(ClosedPort)) -> Result<()> {
        Ok(())
    }

    /// How it runs. What only the collector knows is left empty.
    fn status(&self) -> Status;

    /// Its events; `None` when it has none.
    fn feed(&self) -> Option<Arc<dyn Feed>> {
        None
    }
}
