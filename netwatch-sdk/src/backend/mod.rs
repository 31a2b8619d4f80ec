//! The ways of measuring sockets and processes, best first.
//!
//! | file | source | where |
//! |---|---|---|
//! | `macos` | `nettop` joined with `lsof`, or `lsof` alone | macOS |

mod ledger;
#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "built and tested everywhere, used on macOS")
)]
mod macos;

use crate::{Result, reading::Reading};

/// One way of measuring sockets and processes, running.
pub(crate) trait Measure: Send {
    /// Takes a reading. Byte counts in it are cumulative since the start.
    ///
    /// # Errors
    ///
    /// When nothing at all could be read; what is partly missing is in [`Reading::lost`].
    fn read(&mut self) -> Result<Reading>;
}
