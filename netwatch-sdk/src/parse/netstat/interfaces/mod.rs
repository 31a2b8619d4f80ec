//! `netstat -ibn`, with or without `-d`: what each interface moved.
//!
//! The name column is 5 or 10 wide by release and cuts longer names, so two
//! rows can have one name; the interface's number in `<Link#4>` tells them
//! apart. A cell of the address column can be missing, and so can the last
//! ones, so cells are found from their neighbours and not by position.

use super::super::text;
use crate::Result;

/// All that one run printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    /// One for each link row. The rows of their addresses repeat the counters and are left out.
    pub(crate) links: Vec<Link>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// One interface. Counters are since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Cut to the width of its column.
    pub(crate) name: String,
    /// `true` when `name` fills its column, so that more of it may be cut off.
    pub(crate) cut: bool,
    /// The kernel's number for it.
    pub(crate) index: u32,
    /// `None` when the mark for "down" may be cut off.
    pub(crate) is_up: Option<bool>,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_errors: u64,
    /// `None` where there is no such column, as on macOS.
    pub(crate) rx_drops: Option<u64>,
    /// `None` without `-d`, and for interfaces that do not count them.
    pub(crate) tx_drops: Option<u64>,
}

/// Reads the output of `netstat -ibn`.
///
/// # Errors
///
/// When there is no header with the byte columns.
pub(crate) fn parse_netstat_interfaces(output: &[u8]) -> Result<Interfaces> {
    let mut read = Interfaces::default();
    let mut columns = None;
    for line in text::lines(output) {
        if line.trim().is_empty() {
            continue;
        }
        if let Some(header) = Columns::from_header(&line) {
            columns = Some(header);
            continue;
        }
        let Some(columns) = &columns else {
            read.unreadable += 1;
            continue;
        };
        match columns.row(&line) {
            Some(Row::Link(link)) => read.links.push(link),
            Some(Row::Address) => {}
            None => read.unreadable += 1,
        }
    }
    if columns.is_none() {
        return Err(text::not_in_format("netstat", "Ibytes column", output));
    }
    Ok(read)
}

enum Row {
    Link(Link),
    Address,
}

/// Where each counter is, from the first one after the address.
struct Columns {
    name_width: usize,
    rx_packets: usize,
    rx_errors: usize,
    rx_drops: Option<usize>,
    rx_bytes: usize,
    tx_packets: usize,
    tx_errors: usize,
    tx_bytes: usize,
    tx_drops: Option<usize>,
}

impl Columns {
    fn from_header(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("Name")?;
        let padding = rest.len() - rest.trim_start().len();
        let counters: Vec<&str> = line
            .split_ascii_whitespace()
            .skip_while(|column| *column != "Address")
            .skip(1)
            .collect();
        let named = |name| counters.iter().position(|column| *column == name);
        Some(Self {
            // One blank sets off the next column.
            name_width: "Name".len() + padding.checked_sub(1)?,
            rx_packets: named("Ipkts")?,
            rx_errors: named("Ierrs")?,
            rx_drops: named("Idrop"),
            rx_bytes: named("Ibytes")?,
            tx_packets: named("Opkts")?,
            tx_errors: named("Oerrs")?,
            tx_bytes: named("Obytes")?,
            tx_drops: named("Drop"),
        })
    }

    /// `en0   1500  <Link#4>    02:00:5e:00:53:01  5708989     0 …`
    fn row(&self, line: &str) -> Option<Row> {
        let mut cells = line.split_ascii_whitespace();
        let (name, _mtu, network) = (cells.next()?, cells.next()?, cells.next()?);
        let Some(index) = network.strip_prefix("<Link#") else {
            return Some(Row::Address);
        };
        let index = index.strip_suffix('>')?.parse().ok()?;
        let mut cells = cells.peekable();
        // The address: hardware addresses hold colons, and FreeBSD repeats a name.
        cells.next_if(|cell| counter(cell).is_none());
        let cells: Vec<Option<u64>> = cells.map(counter).collect();
        let at = |column: usize| cells.get(column).copied().flatten();
        let cut = name.len() >= self.name_width;
        let (name, is_up) = match name.strip_suffix('*') {
            Some(name) => (name, Some(false)),
            None => (name, (!cut).then_some(true)),
        };
        if name.is_empty() {
            return None;
        }
        Some(Row::Link(Link {
            name: name.to_owned(),
            cut,
            index,
            is_up,
            rx_bytes: at(self.rx_bytes)?,
            tx_bytes: at(self.tx_bytes)?,
            rx_packets: at(self.rx_packets)?,
            tx_packets: at(self.tx_packets)?,
            rx_errors: at(self.rx_errors)?,
            tx_errors: at(self.tx_errors)?,
            rx_drops: self.rx_drops.and_then(at),
            tx_drops: self.tx_drops.and_then(at),
        }))
    }
}

/// Digits only: `parse` alone would also take a sign.
fn counter(cell: &str) -> Option<u64> {
    cell.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| cell.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests;
