//! What each process moves.
//!
//! [`ProcessBandwidthTracker`] measures through the collector that
//! [`connections`](super::connections) starts: exact where that is, and also for
//! processes whose sockets were opened and closed between two samples. Each row says in
//! `source` and `accuracy` what it is worth. [`attribute`] is the guess from connection
//! counts, for hosts where nothing counts bytes.

mod ranking;
mod sockets;

use std::time::Instant;

use self::{ranking::rank, sockets::SocketDeltas};
use super::running;
use crate::{
    Reader,
    wire::{ConnectionDetail, Snapshot},
};
pub use crate::{backend::estimate::attribute, wire::ProcessBandwidth};

/// Measures what processes moved between two samples.
#[derive(Debug, Default)]
pub struct ProcessBandwidthTracker {
    /// `None` until connections of this host came in.
    host: Option<Reader>,
    /// For connections that are not this host's.
    passed: SocketDeltas,
}

impl ProcessBandwidthTracker {
    /// A tracker that has seen nothing. Starts nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What every process moved since the previous sample, most bytes first, at most
    /// `max` rows. The first sample is what the others count from: it has no bytes and no
    /// rates.
    ///
    /// With connections that
    /// [`collect_connections`](super::connections::collect_connections) returned, all or
    /// some, or with none, the rows are the collector's: every process that moved bytes or
    /// owns a socket, whether or not it is among the connections, and in brackets the
    /// bytes of no process. Where reading fails there are no rows, and
    /// [`status`](super::connections::status) tells why; the next sample that succeeds
    /// holds all bytes since the last one that did.
    ///
    /// With connections from elsewhere (made by hand, or another host's), the rows are the
    /// differences of their own `rx_bytes` and `tx_bytes`, a lower bound: a socket counts
    /// from the second sample that holds it.
    ///
    /// When there are more rows than `max` and those beyond moved something, the last row
    /// is `[other]`, which is all of them together: the sum is that of the host.
    pub fn sample(
        &mut self,
        connections: &[ConnectionDetail],
        max: usize,
    ) -> Vec<ProcessBandwidth> {
        // Rows made by hand do not start a collector.
        let rows = if connections.iter().all(|row| row.source.is_some()) {
            self.of_this_host(connections)
        } else {
            None
        };
        let rows = rows.unwrap_or_else(|| self.passed.since_previous(Instant::now(), connections));
        rank(rows, max)
    }

    /// `None` when the connections are not this host's, or it has no collector.
    fn of_this_host(&mut self, connections: &[ConnectionDetail]) -> Option<Vec<ProcessBandwidth>> {
        if let Some(reader) = &mut self.host {
            let snapshot = running::noted(reader.network());
            return Some(
                snapshot.map_or_else(|_| Vec::new(), |it| it.processes.unwrap_or_default()),
            );
        }
        let mut reader = running::collector().ok()?.reader();
        let snapshot = running::noted(reader.network()).ok()?;
        if !is_of(connections, &snapshot) {
            return None;
        }
        self.host = Some(reader);
        let rows = snapshot.processes.unwrap_or_default();
        Some(rows.into_iter().filter_map(nothing_moved_yet).collect())
    }
}

/// Whether one of the connections is among those of the snapshot, or there is none. The
/// cookie alone does not tell: every host counts from 1.
fn is_of(connections: &[ConnectionDetail], snapshot: &Snapshot) -> bool {
    let here = snapshot.connections.as_deref().unwrap_or_default();
    let same = |a: &ConnectionDetail, b: &ConnectionDetail| {
        a.cookie == b.cookie && a.local_addr == b.local_addr && a.protocol == b.protocol
    };
    connections.is_empty()
        || connections
            .iter()
            .any(|passed| here.iter().any(|row| same(passed, row)))
}

/// A row to count from; `None` when the process has no socket.
fn nothing_moved_yet(row: ProcessBandwidth) -> Option<ProcessBandwidth> {
    (row.connection_count > 0).then(|| ProcessBandwidth {
        rx_bytes: 0,
        tx_bytes: 0,
        rx_rate: 0.0,
        tx_rate: 0.0,
        wire_rx_bytes: row.wire_rx_bytes.map(|_| 0),
        wire_tx_bytes: row.wire_tx_bytes.map(|_| 0),
        ..row
    })
}

#[cfg(test)]
mod tests;
