//! The output of `ss` (iproute2 4.4 to 7.1): `-tunap`, with or without `i`, `e`,
//! `m`, `O` and `H`, on one line a socket or on two.
//!
//! Numbers only (`-n`). What cannot be read costs its row and is counted.
//!
//! Names of processes are printed as they are, except that they end at a `)`, so
//! everything else about a row is read behind them; the path of a cgroup can hold
//! anything too, and everything about TCP is read behind the arrow that follows it.

mod row;
mod tcp;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use self::row::{parse_row, state_column, users_end_here};
use crate::reading::{Protocol, Rtt, SocketState};

/// What was printed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SsOutput {
    /// TCP and UDP sockets, in the order printed.
    pub(crate) sockets: Vec<SsSocket>,
    /// Rows that could not be read.
    pub(crate) unreadable: u64,
}

/// One TCP or UDP socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SsSocket {
    pub(crate) protocol: Protocol,
    pub(crate) state: SocketState,
    pub(crate) receive_queue: u64,
    pub(crate) send_queue: u64,
    pub(crate) local: SsEnd,
    /// `None` when it is not connected.
    pub(crate) remote: Option<SsEnd>,
    /// Empty without permission to see them, and for a socket of no process.
    pub(crate) holders: Vec<SsHolder>,
    /// With `-e`; 0 for a socket that no process has.
    pub(crate) inode: Option<u64>,
    /// With `-e`: the kernel's cookie.
    pub(crate) cookie: Option<u64>,
    /// With `-e`.
    pub(crate) uid: Option<u32>,
    /// With `-i`, for a TCP socket that is not listening and not in `TIME-WAIT`.
    pub(crate) tcp: Option<SsTcp>,
}

/// One end of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SsEnd {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// The interface it is bound to.
    pub(crate) zone: Option<String>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SsHolder {
    /// Cut at a `)`; bytes that are not UTF-8 are replaced.
    pub(crate) name: String,
    pub(crate) pid: u32,
}

/// The kernel's figures of a TCP connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SsTcp {
    pub(crate) rtt: Option<Rtt>,
    pub(crate) retransmits: u64,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
    /// `None` when it is zero, and before iproute2 5.0 or Linux 4.19.
    pub(crate) bytes_sent: Option<u64>,
    pub(crate) bytes_retrans: u64,
    pub(crate) notsent: u64,
    pub(crate) unacked: u64,
    /// It carries a part of a multipath TCP connection (5.3).
    pub(crate) has_ulp: bool,
}

/// Of a process that has sockets (`TASK_COMM_LEN`); every byte may end a line.
const LONGEST_NAME: usize = 15;

/// Reads what `ss` printed.
pub(crate) fn parse_ss(output: &[u8]) -> SsOutput {
    let text = String::from_utf8_lossy(output);
    // Before 4.15 a bare `*` is IPv4; since then it is IPv6 that takes IPv4 too.
    let star = match text.contains("0.0.0.0") || text.contains("[::") {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut parsed = SsOutput::default();
    let mut rest = lines.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match row_kind(first) {
            Kind::Blank | Kind::Header => {}
            Kind::Socket(protocol) => {
                let (row, used) = whole_row(first, after);
                rest = after.get(used..).unwrap_or_default();
                let details = rest.iter().take_while(|line| is_detail(line)).count();
                let (details, next) = rest.split_at_checked(details).unwrap_or((rest, &[]));
                rest = next;
                match parse_row(protocol, &row, details, star) {
                    Some(socket) => parsed.sockets.push(socket),
                    None => parsed.unreadable += 1,
                }
            }
            kind @ (Kind::OtherFamily | Kind::Garbage) => {
                let details = rest.iter().take_while(|line| is_detail(line)).count();
                rest = rest.get(details..).unwrap_or_default();
                parsed.unreadable += u64::from(kind == Kind::Garbage);
            }
        }
    }
    parsed
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Header,
    /// `None` where `ss` listed one protocol only and leaves it out: TCP.
    Socket(Option<Protocol>),
    OtherFamily,
    Garbage,
}

fn row_kind(line: &str) -> Kind {
    let Some(first) = line.split_whitespace().next() else {
        return Kind::Blank;
    };
    match first {
        "tcp" => Kind::Socket(Some(Protocol::Tcp)),
        "udp" => Kind::Socket(Some(Protocol::Udp)),
        "mptcp" => Kind::Socket(Some(Protocol::Mptcp)),
        "State" | "Netid" | "NetidState" => Kind::Header,
        "raw" | "icmp6" | "dccp" | "sctp" | "nl" | "p_raw" | "p_dgr" | "rds" | "tipc" | "ti_rd"
        | "ti_dg" | "ti_sq" | "ti_st" | "u_str" | "u_dgr" | "u_seq" | "unix" | "v_str"
        | "v_dgr" | "v_seq" | "xdp" | "???" => Kind::OtherFamily,
        first if state_column(first).is_some() => Kind::Socket(None),
        _ => Kind::Garbage,
    }
}

/// The second line of a socket.
fn is_detail(line: &str) -> bool {
    line.starts_with(char::is_whitespace) && !line.trim_end_matches(['\n', '\r']).is_empty()
}

/// A row and how many more lines it takes: a name can hold line ends.
fn whole_row(first: &str, after: &[&str]) -> (String, usize) {
    let mut row = first.to_owned();
    if users_end_here(&row) {
        return (row, 0);
    }
    for (index, line) in after.iter().enumerate().take(LONGEST_NAME) {
        row.push_str(line);
        if users_end_here(&row) {
            return (row, index + 1);
        }
    }
    (first.to_owned(), 0)
}
