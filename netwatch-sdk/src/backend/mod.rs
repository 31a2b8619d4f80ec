//! The ways of measuring sockets and processes, best first.
//!
//! | module | source | where |
//! |---|---|---|
//! | `ebpf` | kernel programs | Linux on x86_64 and aarch64, feature `ebpf` |

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

use std::fmt::Debug;

use crate::{Result, collector::Status, reading::Reading};

/// One way of measuring sockets and processes, running.
pub(crate) trait Measure: Send + Debug {
    /// Takes a reading. Byte counts in it are cumulative since the start.
    ///
    /// # Errors
    ///
    /// When nothing at all could be read; what is partly missing is in [`Reading::lost`].
    fn read(&mut self) -> Result<Reading>;

    /// How it runs. What only the collector knows is left empty.
    fn status(&self) -> Status;
}
