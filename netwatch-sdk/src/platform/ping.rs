//! How `ping` is called on this system.

use std::time::Duration;

/// A program, its arguments, and how long it can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PingCommand {
    pub(crate) program: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) time_limit: Duration,
}
