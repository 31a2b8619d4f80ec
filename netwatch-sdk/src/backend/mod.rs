//! The ways of measuring sockets and processes, best first.
//!
//! | file | source | where |
//! |---|---|---|

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
