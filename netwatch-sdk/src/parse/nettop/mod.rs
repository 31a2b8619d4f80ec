//! `nettop -L` of macOS: comma-separated rows of processes and their sockets.
//!
//! The header names the columns, and which are there differs by release and by
//! flags, so they are found by name. The column that says whose row it is has
//! no name. Every line ends with a comma. With `-L 2` and more the header is
//! printed again before each sample.

use std::{str::FromStr, time::Duration};

use super::{
    endpoint::{Endpoint, parse_endpoint},
    text,
};
use crate::{
    Result,
    reading::{Protocol, SocketState},
};

/// All that one run printed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Nettop {
    /// In the order of time. With `-d` all but the first hold differences.
    pub(crate) samples: Vec<Sample>,
    /// Lines, and cells of read lines, that could not be read.
    pub(crate) unreadable: u64,
}

/// What one header and the lines after it say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sample {
    /// In the order printed.
    pub(crate) processes: Vec<ProcessRow>,
    /// In the order printed.
    pub(crate) flows: Vec<FlowRow>,
    /// Lines that could not be read, each of which may have been a row.
    pub(crate) lost_rows: u64,
}

/// A process, summed over its sockets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProcessRow {
    /// Cut to 15 bytes.
    pub(crate) name: String,
    /// 0 is the kernel.
    pub(crate) pid: u32,
    /// `None` where the cells are empty.
    pub(crate) counters: Option<Counters>,
}

/// A socket, or a QUIC connection run in user space.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlowRow {
    /// Its process; `None` when the row that names it could not be read.
    pub(crate) pid: Option<u32>,
    /// What carries it.
    pub(crate) transport: Transport,
    /// A socket of the IPv6 family, which can carry IPv4 too.
    pub(crate) ipv6: bool,
    /// This host's end.
    pub(crate) local: Endpoint,
    /// The other end.
    pub(crate) remote: Endpoint,
    /// `None` where no packet went through yet.
    pub(crate) interface: Option<String>,
    /// `None` for UDP and QUIC.
    pub(crate) state: Option<SocketState>,
    /// `None` where the cells are empty: listening, never used, or just closed.
    pub(crate) counters: Option<Counters>,
    /// Smoothed round-trip time of TCP.
    pub(crate) rtt: Option<Duration>,
}

/// What a [`FlowRow`] is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Quic,
}

impl Transport {
    /// The IP protocol: QUIC is UDP.
    pub(crate) const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp | Self::Quic => Protocol::Udp,
        }
    }
}

/// Bytes since the socket was made, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Received, duplicates too.
    pub(crate) rx_bytes: u64,
    /// Sent, retransmissions too.
    pub(crate) tx_bytes: u64,
    /// The part of `rx_bytes` that had arrived before; `None` where not printed.
    pub(crate) rx_duplicate_bytes: Option<u64>,
    /// The part of `tx_bytes` that had been sent before; `None` where not printed.
    pub(crate) tx_again_bytes: Option<u64>,
}

/// Reads the output of `nettop -L`.
///
/// # Errors
///
/// When there is no header with `bytes_in` and `bytes_out`: for a flag or
/// column it does not know, `nettop` prints its usage and exits with 0.
pub(crate) fn parse_nettop(output: &[u8]) -> Result<Nettop> {
    let mut read = Nettop::default();
    let mut columns = None;
    let mut owner = None;
    for line in text::lines(output) {
        if line.trim().is_empty() {
            continue;
        }
        let cells: Vec<&str> = line.split(',').collect();
        if let Some(header) = Columns::from_header(&cells) {
            columns = Some(header);
            owner = None;
            read.samples.push(Sample::default());
            continue;
        }
        let (Some(columns), Some(sample)) = (&columns, read.samples.last_mut()) else {
            // Before the header, such as a warning.
            read.unreadable += 1;
            continue;
        };
        match columns.row(&cells) {
            Some((Row::Process(process), _)) => {
                owner = Some(process.pid);
                sample.processes.push(process);
            }
            Some((Row::Flow(mut flow), unreadable)) => {
                flow.pid = owner;
                sample.flows.push(flow);
                read.unreadable += unreadable;
            }
            None => {
                read.unreadable += 1;
                sample.lost_rows += 1;
                // It may have named a process, whose sockets follow.
                if !line.contains("<->") {
                    owner = None;
                }
            }
        }
    }
    if columns.is_none() {
        return Err(text::not_in_format("nettop", "header", output));
    }
    Ok(read)
}

enum Row {
    Process(ProcessRow),
    Flow(FlowRow),
}

/// Where each column is.
struct Columns {
    /// How many, the empty one after the last comma too.
    count: usize,
    whose: usize,
    rx_bytes: usize,
    tx_bytes: usize,
    interface: Option<usize>,
    state: Option<usize>,
    rx_duplicate: Option<usize>,
    tx_again: Option<usize>,
    rtt: Option<usize>,
}

impl Columns {
    fn from_header(cells: &[&str]) -> Option<Self> {
        let named = |name| cells.iter().position(|cell| cell.trim() == name);
        let (rx_bytes, tx_bytes) = (named("bytes_in")?, named("bytes_out")?);
        let whose = named("").filter(|&whose| whose < rx_bytes.min(tx_bytes))?;
        Some(Self {
            count: cells.len(),
            whose,
            rx_bytes,
            tx_bytes,
            interface: named("interface"),
            state: named("state"),
            rx_duplicate: named("rx_dupe"),
            tx_again: named("re-tx"),
            rtt: named("rtt_avg"),
        })
    }

    /// The row, and how many of its cells could not be read.
    fn row(&self, cells: &[&str]) -> Option<(Row, u64)> {
        let extra = cells.len().checked_sub(self.count)?;
        // Names are not quoted: cells too many are commas in the name, unless
        // the row is whole without.
        self.row_at(cells, 0)
            .or_else(|| (extra > 0).then(|| self.row_at(cells, extra)).flatten())
    }

    fn row_at(&self, cells: &[&str], shift: usize) -> Option<(Row, u64)> {
        let whose = cells.get(self.whose..=self.whose + shift)?.join(",");
        let cell = |column: usize| {
            let at = if column > self.whose {
                column + shift
            } else {
                column
            };
            cells.get(at).map_or("", |cell| cell.trim())
        };
        let counters = self.counters(cell)?;
        let interface = self.interface.map_or("", cell);
        let state = self.state.map_or("", cell);
        let Some((transport, ipv6, local, remote)) = parse_flow(&whose) else {
            let (name, pid) = parse_process(&whose)?;
            let process = ProcessRow {
                name,
                pid,
                counters,
            };
            return (interface.is_empty() && state.is_empty())
                .then_some((Row::Process(process), 0));
        };
        let mut unreadable = 0;
        let rtt = self.rtt.map_or("", cell);
        let flow = FlowRow {
            pid: None,
            transport,
            ipv6,
            local,
            remote,
            interface: (!interface.is_empty()).then(|| interface.to_owned()),
            state: optional(state, parse_state, &mut unreadable),
            counters,
            rtt: optional(rtt, parse_rtt, &mut unreadable),
        };
        Some((Row::Flow(flow), unreadable))
    }

    /// `None` when a cell holds something else than a number; `Some(None)` when they are empty.
    fn counters<'a>(&self, cell: impl Fn(usize) -> &'a str) -> Option<Option<Counters>> {
        let number = |column| match cell(column) {
            "" | "-" => Some(None),
            digits => parse_number(digits).map(Some),
        };
        let optional = |column: Option<usize>| column.map_or(Some(None), number);
        let (rx_bytes, tx_bytes) = (number(self.rx_bytes)?, number(self.tx_bytes)?);
        let rx_duplicate_bytes = optional(self.rx_duplicate)?;
        let tx_again_bytes = optional(self.tx_again)?;
        match (rx_bytes, tx_bytes) {
            (Some(rx_bytes), Some(tx_bytes)) => Some(Some(Counters {
                rx_bytes,
                tx_bytes,
                rx_duplicate_bytes,
                tx_again_bytes,
            })),
            (None, None) => Some(None),
            _ => None,
        }
    }
}

/// An empty cell is no value; one that cannot be read is none either, and is counted.
fn optional<T>(cell: &str, parse: impl Fn(&str) -> Option<T>, unreadable: &mut u64) -> Option<T> {
    if matches!(cell, "" | "-") {
        return None;
    }
    let value = parse(cell);
    *unreadable += u64::from(value.is_none());
    value
}

/// Digits only: `parse` alone would also take a sign.
fn parse_number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// `Google Chrome H.74297`
fn parse_process(whose: &str) -> Option<(String, u32)> {
    let (name, pid) = whose.rsplit_once('.')?;
    if whose.contains("<->") {
        // A socket whose ends could not be read.
        return None;
    }
    Some((name.to_owned(), parse_number(pid)?))
}

/// `tcp4 192.0.2.1:50000<->198.51.100.7:443`
fn parse_flow(whose: &str) -> Option<(Transport, bool, Endpoint, Endpoint)> {
    let (kind, ends) = whose.split_once(' ')?;
    let (transport, family) = match kind.split_at_checked(kind.len().checked_sub(1)?)? {
        ("tcp", family) => (Transport::Tcp, family),
        ("udp", family) => (Transport::Udp, family),
        ("quic", family) => (Transport::Quic, family),
        _ => return None,
    };
    let ipv6 = match family {
        "4" => false,
        "6" => true,
        _ => return None,
    };
    let (local, remote) = ends.split_once("<->")?;
    Some((
        transport,
        ipv6,
        parse_endpoint(local)?,
        parse_endpoint(remote)?,
    ))
}

fn parse_state(text: &str) -> Option<SocketState> {
    Some(match text {
        "Established" => SocketState::Established,
        "SynSent" => SocketState::SynSent,
        "SynReceived" => SocketState::SynReceived,
        "FinWait1" => SocketState::FinWait1,
        "FinWait2" => SocketState::FinWait2,
        "TimeWait" => SocketState::TimeWait,
        "Closed" => SocketState::Closed,
        "CloseWait" => SocketState::CloseWait,
        "LastAck" => SocketState::LastAck,
        "Listen" => SocketState::Listen,
        "Closing" => SocketState::Closing,
        _ => return None,
    })
}

/// `1.22 ms`
fn parse_rtt(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_once(' ')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let one = match unit {
        "s" => Duration::from_secs(1),
        "ms" => Duration::from_millis(1),
        "us" => Duration::from_micros(1),
        _ => return None,
    };
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole = one.checked_mul(parse_number(whole)?)?;
    let scale = 10_u32.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = u64::from(parse_number::<u32>(fraction)?);
    let one = u64::try_from(one.as_nanos()).ok()?;
    let part = one.checked_mul(fraction)? / u64::from(scale);
    whole.checked_add(Duration::from_nanos(part))
}

#[cfg(test)]
mod tests;
