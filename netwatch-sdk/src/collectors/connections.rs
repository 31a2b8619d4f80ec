//! The connections of this host: states, owners, bytes, round-trip times.
//!
//! The functions here share one [`Collector`] with each other and with
//! [`ProcessBandwidthTracker`](super::process_bandwidth::ProcessBandwidthTracker). The
//! first call starts it, the best that this host allows, in about 60 ms; it runs until
//! the process ends. [`status`] tells what runs, why nothing better does, and what went
//! wrong. When none can start, that is remembered and tried again after a minute.
//!
//! Each call is one reading of every socket. To measure at an interval, or with
//! settings, start a [`Collector`] of your own instead, or take [`collector`].

use super::running;
pub use crate::wire::ConnectionDetail;
use crate::{
    Collector, Result, Status,
    collector::{connection_row, count_time_wait},
    reading::{Protocol, Reading, SocketState},
};

/// How many TCP sockets are in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpStates {
    /// ESTABLISHED.
    pub established: u32,
    /// TIME-WAIT, and on Linux what is left of orphaned sockets in FIN-WAIT-2.
    pub time_wait: u32,
    /// CLOSE-WAIT.
    pub close_wait: u32,
}

/// The collector that these functions share, for what only the typed API has.
///
/// # Errors
///
/// As [`Builder::start`](crate::Builder::start); the same error for a minute.
pub fn collector() -> Result<Collector> {
    running::collector()
}

/// How that collector is doing; an error when the last call could not start or read
/// it, `None` when nothing has asked for it yet. Starts nothing.
#[must_use]
pub fn status() -> Option<Result<Status>> {
    running::status()
}

/// Every open socket that the collector sees: on Linux those of all network namespaces
/// it may look into. `rx_bytes` and `tx_bytes` are over the socket's life as far as it
/// was seen; `source` and `accuracy` tell what they are worth. Sockets in TIME-WAIT
/// have no owner and no bytes, and are in the list only where the backend has them.
///
/// # Errors
///
/// When no collector can start, or it cannot read.
pub fn read_connections() -> Result<Vec<ConnectionDetail>> {
    let reading = running::read()?;
    let row = |socket| connection_row(socket, false, reading.source);
    Ok(reading.open.into_iter().map(row).collect())
}

/// The TCP sockets by state, of the same namespaces.
///
/// # Errors
///
/// As [`read_connections`], and when the sockets in TIME-WAIT cannot be counted.
pub fn read_tcp_states() -> Result<TcpStates> {
    let reading = running::read()?;
    let time_wait = running::noted(count_time_wait(&reading))?;
    Ok(states(&reading, time_wait))
}

/// [`read_connections`]; empty where that fails, and [`status`] tells why.
#[must_use]
pub fn collect_connections() -> Vec<ConnectionDetail> {
    read_connections().unwrap_or_default()
}

/// [`read_tcp_states`]; 0 for what cannot be read, and [`status`] tells why.
#[must_use]
pub fn collect_tcp_states() -> TcpStates {
    let Ok(reading) = running::read() else {
        return TcpStates {
            established: 0,
            time_wait: 0,
            close_wait: 0,
        };
    };
    let time_wait = running::noted(count_time_wait(&reading));
    states(&reading, time_wait.unwrap_or_default())
}

/// The established ones of [`read_tcp_states`]; 0 where that fails, and [`status`] tells
/// why.
#[must_use]
pub fn count_established_connections() -> u32 {
    running::read().map_or(0, |reading| states(&reading, 0).established)
}

/// The established connections before the others, each group in the order given, and
/// of all these the first `max`.
#[must_use]
pub fn top_connections(
    mut connections: Vec<ConnectionDetail>,
    max: usize,
) -> Vec<ConnectionDetail> {
    let established = SocketState::Established.name(Protocol::Tcp);
    // Stable.
    connections.sort_by_key(|connection| connection.state != established);
    connections.truncate(max);
    connections
}

fn states(reading: &Reading, time_wait: u32) -> TcpStates {
    let is_tcp = |protocol| matches!(protocol, Protocol::Tcp | Protocol::Mptcp);
    let count = |state| {
        let in_state = reading
            .open
            .iter()
            .filter(|socket| socket.state == state && is_tcp(socket.protocol));
        u32::try_from(in_state.count()).unwrap_or(u32::MAX)
    };
    TcpStates {
        established: count(SocketState::Established),
        time_wait,
        close_wait: count(SocketState::CloseWait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(local: &str, state: &str) -> ConnectionDetail {
        ConnectionDetail {
            local_addr: local.into(),
            state: state.into(),
            ..ConnectionDetail::default()
        }
    }

    #[test]
    fn the_top_are_established_and_otherwise_in_the_order_given() {
        let given = vec![
            connection("a", "LISTEN"),
            connection("b", "ESTABLISHED"),
            connection("c", "CLOSE_WAIT"),
            connection("d", "ESTABLISHED"),
        ];
        let order = |max| -> String {
            let top = top_connections(given.clone(), max);
            top.into_iter().map(|row| row.local_addr).collect()
        };
        assert_eq!(order(10), "bdac");
        assert_eq!(order(3), "bda");
        assert_eq!(order(0), "");
    }
}
