//! What a reader has not seen yet, while others read.

use std::collections::HashMap;

use crate::reading::{Attribution, Process, Reading, Socket};

/// Ended sockets and processes since a reader's previous reading.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) closed: Vec<Socket>,
    pub(super) exited: HashMap<Attribution, Process>,
    /// Rows that had no room here.
    pub(super) overflow: u64,
}

/// A reader that never reads must not fill the memory: about 100 MB at this many.
const MAX_ROWS: usize = 250_000;

impl Pending {
    /// Keeps what the backend will not report again.
    pub(super) fn absorb(&mut self, reading: &Reading) {
        let room = MAX_ROWS.saturating_sub(self.closed.len());
        self.closed
            .extend(reading.closed.iter().take(room).cloned());
        self.overflow += reading.closed.len().saturating_sub(room) as u64;
        for process in reading.processes.iter().filter(|process| !process.alive) {
            self.exited.insert(process.id, process.clone());
        }
    }
}
