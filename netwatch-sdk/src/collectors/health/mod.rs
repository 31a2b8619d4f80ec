//! Reachability: round-trip time and loss of gateway and DNS server.
//!
//! Three ICMP echoes of one second each, over `surge-ping` on an unprivileged
//! datagram socket (Linux: `net.ipv4.ping_group_range`), else a raw one
//! (`CAP_NET_RAW`), else by the system's `ping`. IPv4 and IPv6.
//!
//! A target that does not answer, or that this host has no route to, has lost
//! its probes. Not being able to probe is not loss: [`probe`] returns the
//! error, and [`run_ping`] a loss that is not a number.

mod command;
mod history;
mod icmp;

use std::time::Duration;

pub use self::history::RttHistory;
use crate::{
    Error, ErrorKind, Result,
    platform::{Host, ScopedIp},
};

/// How many round-trip times a history holds.
pub const RTT_HISTORY_LEN: usize = 60;

const PROBES: u32 = 3;
const PROBE_TIME: Duration = Duration::from_secs(1);

/// What became of the probes to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// Echo requests sent, or refused because there is no route.
    pub sent: u32,
    /// Replies that came in time, without duplicates.
    pub received: u32,
    /// Mean round-trip time of the replies; `None` when there were none.
    pub mean_rtt: Option<Duration>,
    /// What sent them.
    pub sender: Sender,
}

/// What sent the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// This process.
    Socket,
    /// The command `ping`.
    Command,
}

impl Probes {
    /// Probes that were not answered, percent.
    #[must_use]
    pub fn loss_pct(&self) -> f64 {
        match self.sent {
            0 => 0.0,
            sent => f64::from(sent.saturating_sub(self.received)) / f64::from(sent) * 100.0,
        }
    }
}

/// [`Probes`] as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct PingResult {
    /// Mean round-trip time, milliseconds; `None` when nothing came back or nothing was sent.
    pub rtt_ms: Option<f64>,
    /// Probes lost, percent. `NaN` when no probe could be sent, which JSON
    /// writes as `null`: not read.
    pub loss_pct: f64,
}

impl From<Result<Probes>> for PingResult {
    fn from(probes: Result<Probes>) -> Self {
        match probes {
            Ok(probes) => Self {
                rtt_ms: probes.mean_rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
                loss_pct: probes.loss_pct(),
            },
            Err(_) => Self {
                rtt_ms: None,
                loss_pct: f64::NAN,
            },
        }
    }
}

/// Sends three probes, one after the other's answer, to an address (an IPv6
/// one may end in `%eth0`) or to the first address of a name.
///
/// Blocks for 3 s at most when nothing answers, a look-up of 5 s not counted,
/// and works inside a `tokio` runtime and outside of one; in async code call it
/// through `spawn_blocking`.
///
/// # Errors
///
/// [`Permission`](ErrorKind::Permission) when this process may open no ICMP
/// socket and there is no `ping` that may;
/// [`Missing`](ErrorKind::Missing) when a name has no address or an interface
/// does not exist; [`TimedOut`](ErrorKind::TimedOut) when a look-up does not end.
pub fn probe(target: &str) -> Result<Probes> {
    probe_from(&Host::default(), target)
}

fn probe_from(host: &Host, target: &str) -> Result<Probes> {
    let address = match target.parse::<ScopedIp>() {
        Ok(address) => address,
        Err(_) => icmp::look_up(target)?.into(),
    };
    match icmp::probe(&address, PROBES, PROBE_TIME) {
        Err(refused) if refused.kind() == ErrorKind::Permission => {
            command::probe(host, &address, PROBES).map_err(|failed| no_way(refused, &failed))
        }
        probes => probes,
    }
}

/// Neither way is open: says both reasons.
fn no_way(refused: Error, failed: &Error) -> Error {
    let kind = match failed.kind() {
        ErrorKind::Missing => ErrorKind::Permission,
        kind => kind,
    };
    Error::new(kind, format!("no ICMP socket, and {failed}")).because(refused)
}

/// [`probe`] for callers of the published crate: errors show as `NaN` loss.
#[must_use]
pub fn run_ping(target: &str) -> PingResult {
    probe(target).into()
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
