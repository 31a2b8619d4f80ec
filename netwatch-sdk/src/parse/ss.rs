//! The output of `ss` (iproute2 4.4 to 7.1): `-tunap`, with or without `i`, `e`,
//! `m`, `O` and `H`, on one line a socket or on two.
//!
//! Numbers only (`-n`). What cannot be read costs its row and is counted.
//!
//! Names of processes are printed as they are, except that they end at a `)`, so
//! everything else about a row is read behind them; the path of a cgroup can hold
//! anything too, and everything about TCP is read behind the arrow that follows it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

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
    pub(crate) is_subflow: bool,
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

fn users_end_here(row: &str) -> bool {
    match row.split_once("users:(") {
        Some((_, users)) => parse_users(users).is_some(),
        None => true,
    }
}

fn parse_row(
    protocol: Option<Protocol>,
    row: &str,
    details: &[&str],
    star: IpAddr,
) -> Option<SsSocket> {
    // Output that was cut ends in the middle of a line.
    if !details.last().unwrap_or(&row).ends_with('\n') {
        return None;
    }
    let (fields, users) = match row.split_once("users:(") {
        Some((fields, users)) => (fields, Some(users)),
        None => (row, None),
    };
    let mut fields = Fields(fields);
    if protocol.is_some() {
        fields.next()?;
    }
    let (state, glued) = state_column(fields.next()?)?;
    let receive_queue = if glued.is_empty() {
        fields.next()?
    } else {
        glued
    };
    let receive_queue = receive_queue.parse().ok()?;
    let send_queue = fields.next()?.parse().ok()?;
    let local = fields.next()?;
    let remote = fields.next()?;
    let mut holders = Vec::new();
    let mut extended = fields.0;
    if let Some(users) = users {
        (holders, extended) = parse_users(users)?;
    }
    let details = details.concat();
    let (about, tcp) = split_at_arrow(extended, &details);
    let about_socket = about.split(" cgroup:").next().unwrap_or_default();
    let number = |key| value(about_socket, key);
    let inode = number("ino:").and_then(|it| it.parse().ok());
    // A bound IPv6 socket says whether it takes IPv4.
    let star = match about.contains(" v6only:") {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => star,
    };
    let local = parse_end(local, star)?;
    let remote = parse_end(remote, star)?;
    let protocol = protocol.unwrap_or(Protocol::Tcp);
    let counted = protocol == Protocol::Tcp && state != SocketState::Listen;
    Some(SsSocket {
        protocol,
        state,
        receive_queue,
        send_queue,
        local,
        remote: (!remote.address.is_unspecified() || remote.port != 0).then_some(remote),
        holders,
        inode,
        cookie: number("sk:").and_then(|it| u64::from_str_radix(it, 16).ok()),
        // Printed unless it is root's.
        uid: match number("uid:") {
            Some(uid) => Some(uid.parse().ok()?),
            None => inode.filter(|&inode| inode != 0).map(|_| 0),
        },
        tcp: if counted { parse_tcp(tcp)? } else { None },
    })
}

/// Words that are separated by white space, and what is left.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// What is said about the socket, and what about its connection.
fn split_at_arrow<'a>(extended: &'a str, details: &'a str) -> (&'a str, [&'a str; 2]) {
    let arrows = [" <->", " <--", " -->", " ---"];
    let last = arrows.iter().filter_map(|it| extended.rfind(it)).max();
    match last.and_then(|at| extended.split_at_checked(at)) {
        Some((about, tcp)) => (about, [tcp, details]),
        None => (extended, [extended, details]),
    }
}

/// The processes after `users:(`, and the text behind them.
fn parse_users(text: &str) -> Option<(Vec<SsHolder>, &str)> {
    let mut holders = Vec::new();
    let mut text = text;
    loop {
        let (holder, rest) = parse_holder(text.strip_prefix("(\"")?)?;
        holders.push(holder);
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None => return Some((holders, rest.strip_prefix(')')?)),
        }
    }
}

/// `name",pid=1,fd=3)`; the name may hold anything but a `)`.
fn parse_holder(text: &str) -> Option<(SsHolder, &str)> {
    let (inside, rest) = text.split_once(')')?;
    let (inside, fd) = inside.rsplit_once(",fd=")?;
    let (name, pid) = inside.rsplit_once("\",pid=")?;
    fd.parse::<u32>().ok()?;
    if name.contains('\n') && name.chars().count() > LONGEST_NAME {
        return None;
    }
    let holder = SsHolder {
        name: name.to_owned(),
        pid: pid.parse().ok()?,
    };
    Some((holder, rest))
}

/// A state and what follows it without a space: 4.15 leaves none behind the
/// longest states, `FIN-WAIT-20` and `CLOSE-WAIT1`.
fn state_column(word: &str) -> Option<(SocketState, &str)> {
    let name = word.trim_end_matches(|it: char| it.is_ascii_digit());
    // The digit that belongs to FIN-WAIT-1 and FIN-WAIT-2.
    let length = name.len() + usize::from(name == "FIN-WAIT-");
    let (name, glued) = word.split_at_checked(length)?;
    Some((state(name)?, glued))
}

fn state(name: &str) -> Option<SocketState> {
    Some(match name {
        "ESTAB" => SocketState::Established,
        "SYN-SENT" => SocketState::SynSent,
        "SYN-RECV" | "NEW-SYN-RECV" => SocketState::SynReceived,
        "FIN-WAIT-1" => SocketState::FinWait1,
        "FIN-WAIT-2" => SocketState::FinWait2,
        "TIME-WAIT" => SocketState::TimeWait,
        "UNCONN" | "BOUND-INACTIVE" => SocketState::Closed,
        "CLOSE-WAIT" => SocketState::CloseWait,
        "LAST-ACK" => SocketState::LastAck,
        "LISTEN" => SocketState::Listen,
        "CLOSING" => SocketState::Closing,
        _ => return None,
    })
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1:80` (before 4.15),
/// `[fe80::1]%eth0:80`, `127.0.0.53%lo:53`, `*:80`, `*:*`.
fn parse_end(text: &str, star: IpAddr) -> Option<SsEnd> {
    let (host, port) = text.rsplit_once(':')?;
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone.trim_end_matches(']'))),
        None => (host, None),
    };
    let address = match address.trim_matches(['[', ']']) {
        "*" => star,
        address => address.parse().ok()?,
    };
    Some(SsEnd {
        address: address.to_canonical(),
        port: match port {
            "*" => 0,
            port => port.parse().ok()?,
        },
        zone: zone.filter(|zone| !zone.is_empty()).map(str::to_owned),
    })
}

/// The value of the first word that begins with `key`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_whitespace().find_map(|it| it.strip_prefix(key))
}

/// `Some(None)` when there are no figures, `None` when there are and one is not a number.
#[allow(clippy::option_option)]
fn parse_tcp(texts: [&str; 2]) -> Option<Option<SsTcp>> {
    let mut tcp = SsTcp::default();
    let mut found = false;
    let mut smoothed = None;
    let mut minimum = None;
    for word in texts.iter().flat_map(|text| text.split_whitespace()) {
        tcp.is_subflow |= word == "tcp-ulp-mptcp";
        let Some((key, value)) = word.split_once(':') else {
            continue;
        };
        let number = || value.parse::<u64>().ok();
        match key {
            "cwnd" | "rto" => found = true,
            "bytes_acked" => tcp.bytes_acked = number()?,
            "bytes_received" => tcp.bytes_received = number()?,
            "bytes_sent" => tcp.bytes_sent = Some(number()?),
            "bytes_retrans" => tcp.bytes_retrans = number()?,
            "notsent" => tcp.notsent = number()?,
            "unacked" => tcp.unacked = number()?,
            // Unanswered now / over the connection's life.
            "retrans" => tcp.retransmits = value.split_once('/')?.1.parse().ok()?,
            "rtt" => {
                let (mean, variation) = value.split_once('/')?;
                smoothed = Some((millis(mean)?, millis(variation)?));
            }
            "minrtt" => minimum = Some(millis(value)?),
            _ => {}
        }
    }
    tcp.rtt = smoothed.map(|(smoothed, variation)| Rtt {
        smoothed,
        variation: Some(variation),
        minimum,
    });
    Some(found.then_some(tcp))
}

/// `12`, `0.044`, `1.5e+03`: milliseconds, to the microsecond.
fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1000.0)
        .ok()
        .map(|exact| Duration::from_micros((exact.as_nanos().saturating_add(500) / 1000) as u64))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> SsSocket {
        let parsed = parse_ss(format!("{line}\n").as_bytes());
        assert_eq!(parsed.unreadable, 0, "{line}");
        let [socket] = <[_; 1]>::try_from(parsed.sockets).unwrap();
        socket
    }

    fn end(text: &str) -> String {
        let end = parse_end(text, Ipv4Addr::UNSPECIFIED.into()).unwrap();
        let zone = end.zone.unwrap_or_default();
        format!("{} {} {zone}", end.address, end.port)
    }

    fn holders(text: &str) -> Vec<(String, u32)> {
        let (holders, rest) = parse_users(text).unwrap();
        assert_eq!(rest, " ino:1");
        holders.into_iter().map(|it| (it.name, it.pid)).collect()
    }

    #[test]
    fn every_way_to_print_an_address_is_read() {
        assert_eq!(end("10.0.0.1:80"), "10.0.0.1 80 ");
        assert_eq!(end("[2001:db8::1]:80"), "2001:db8::1 80 ");
        assert_eq!(end("2001:db8::1:80"), "2001:db8::1 80 ");
        assert_eq!(end(":::5354"), ":: 5354 ");
        assert_eq!(end("::ffff:127.0.0.1:8082"), "127.0.0.1 8082 ");
        assert_eq!(end("[fe80::1]%eth0:80"), "fe80::1 80 eth0");
        assert_eq!(end("fe80::1%eth0:80"), "fe80::1 80 eth0");
        assert_eq!(end("127.0.0.53%lo:53"), "127.0.0.53 53 lo");
        assert_eq!(end("*:*"), "0.0.0.0 0 ");
        assert_eq!(parse_end("*:ssh", Ipv4Addr::UNSPECIFIED.into()), None);
        assert_eq!(
            parse_end("10.0.0.1:80000", Ipv4Addr::UNSPECIFIED.into()),
            None
        );
    }

    #[test]
    fn names_with_quotes_commas_and_parentheses_are_read() {
        assert_eq!(
            holders(r#"("we"ird",pid=1,fd=3),("a,b=(c",pid=2,fd=4)) ino:1"#),
            [(r#"we"ird"#.into(), 1), ("a,b=(c".into(), 2)]
        );
        assert_eq!(
            holders(r#"("",pid=1,fd=3",pid=77,fd=9)) ino:1"#),
            [(r#"",pid=1,fd=3"#.into(), 77)]
        );
    }

    #[test]
    fn a_name_with_a_line_end_costs_neither_its_row_nor_the_next() {
        let parsed = parse_ss(
            b"tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\nb\",pid=1,fd=3))\n\
              tcp ESTAB 0 0 10.0.0.1:3 10.0.0.2:4 users:((\"c\",pid=2,fd=3))\n",
        );
        assert_eq!(parsed.unreadable, 0);
        assert_eq!(parsed.sockets.len(), 2);
        assert_eq!(parsed.sockets[0].holders[0].name, "a\nb");
        assert_eq!(parsed.sockets[1].holders[0].pid, 2);
    }

    #[test]
    fn users_that_are_cut_cost_their_row_only() {
        let parsed = parse_ss(
            b"tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\n\
              tcp ESTAB 0 0 10.0.0.1:3 10.0.0.2:4 users:((\"c\",pid=2,fd=3))\n",
        );
        assert_eq!((parsed.sockets.len(), parsed.unreadable), (1, 1));
    }

    #[test]
    fn a_cgroup_path_cannot_pose_as_figures() {
        let socket = one(
            "tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\",pid=1,fd=3)) uid:5 ino:7 sk:1f \
             cgroup:/x <-> rto:1 bytes_received:999 ino:8 <-> rto:204 bytes_received:10",
        );
        assert_eq!(socket.tcp.unwrap().bytes_received, 10);
        assert_eq!(socket.inode, Some(7));
        assert_eq!(socket.cookie, Some(0x1f));
        assert_eq!(socket.uid, Some(5));
    }

    #[test]
    fn figures_that_are_no_numbers_or_too_large_cost_the_row() {
        for figure in [
            "bytes_acked:1x",
            "bytes_received:99999999999999999999",
            "rtt:a/b",
        ] {
            let line = format!("tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 rto:1 {figure}\n");
            let parsed = parse_ss(line.as_bytes());
            assert_eq!(
                (parsed.sockets.len(), parsed.unreadable),
                (0, 1),
                "{figure}"
            );
        }
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(millis("0.044"), Some(Duration::from_micros(44)));
        assert_eq!(millis("5.06"), Some(Duration::from_micros(5060)));
        assert_eq!(millis("1.5e+03"), Some(Duration::from_millis(1500)));
        assert_eq!(millis("-1"), None);
        assert_eq!(millis("nan"), None);
    }

    #[test]
    fn other_families_are_left_out_and_garbage_is_counted() {
        let parsed = parse_ss(
            b"Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
              nl UNCONN 0 0 rtnl:kernel *\n\
              u_str LISTEN 0 128 /run/x 22040 * 0\n\
              Usage: ss [ OPTIONS ]\n\
              tcp ESTAB\n",
        );
        assert_eq!((parsed.sockets.len(), parsed.unreadable), (0, 2));
    }

    fn folder(path: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    /// Rows by a rule of its own: a line that begins with a protocol or a state.
    fn rows(text: &[u8]) -> usize {
        let text = String::from_utf8_lossy(text);
        let begins = [
            "tcp ", "udp ", "ESTAB", "SYN-", "FIN-", "TIME-", "CLOS", "LAST-", "LISTEN",
        ];
        text.lines()
            .filter(|line| begins.iter().any(|begin| line.starts_with(begin)))
            .count()
    }

    #[test]
    fn our_own_captures_are_read_field_by_field() {
        let files = folder("tests/fixtures/ss");
        assert!(files.len() >= 4, "fixtures are missing");
        for (name, text) in files {
            let parsed = parse_ss(&text);
            assert_eq!(parsed.unreadable, 0, "{name}");
            assert_eq!(parsed.sockets.len(), rows(&text), "{name}");
            let at = |port| parsed.sockets.iter().find(|it| it.local.port == port);
            let web = at(443).unwrap();
            assert_eq!(web.remote.as_ref().unwrap().port, 50000, "{name}");
            let names: Vec<_> = web.holders.iter().map(|it| (&*it.name, it.pid)).collect();
            assert_eq!(names, [("nginx: a (b", 101), ("nginx", 100)], "{name}");
            let tcp = web.tcp.unwrap();
            assert_eq!(
                (tcp.bytes_acked, tcp.bytes_received),
                (70001, 4097),
                "{name}"
            );
            let old = name.starts_with("iproute2-4");
            assert_eq!(tcp.bytes_sent.is_none(), old, "{name}");
            let rtt = tcp.rtt.unwrap();
            assert_eq!(rtt.smoothed, Duration::from_micros(1250), "{name}");
            assert_eq!(tcp.retransmits, 3, "{name}");
            assert_eq!(web.cookie.is_some(), name.contains("-e"), "{name}");
            let dns = at(53).unwrap();
            assert_eq!(
                (dns.protocol, &dns.remote),
                (Protocol::Udp, &None),
                "{name}"
            );
            assert_eq!(dns.local.zone.as_deref(), Some("lo"), "{name}");
            let any = at(22).unwrap();
            assert_eq!((any.state, any.tcp), (SocketState::Listen, None), "{name}");
        }
    }

    #[test]
    fn every_capture_of_the_shared_folder_is_read_where_it_exists() {
        let files = folder("../../shared/fixtures/ss");
        let elsewhere = folder("../../../shared/fixtures/ss");
        let files = if files.is_empty() { elsewhere } else { files };
        if files.is_empty() {
            println!("no shared captures here: only this repository's own are read");
            return;
        }
        for (name, text) in files {
            let parsed = parse_ss(&text);
            let read = parsed.sockets.len();
            let unreadable = usize::try_from(parsed.unreadable).unwrap();
            assert_eq!(read + unreadable, rows(&text), "{name}");
            // Taken without `-n`.
            let with_names = ["centos77_a.txt", "ubuntu18_a.txt"].contains(&&*name);
            assert_eq!(unreadable > 0, with_names, "{name}: {unreadable}");
            if !name.starts_with("gen_") {
                continue;
            }
            let at = |local, remote| {
                let row = parsed.sockets.iter().find(|it| {
                    it.local.port == local && it.remote.as_ref().is_some_and(|it| it.port == remote)
                });
                row.unwrap_or_else(|| panic!("{name}: {local} {remote}"))
            };
            let queue = at(49898, 8086).tcp.unwrap();
            assert_eq!(queue.bytes_acked, 128_513, "{name}");
            assert_eq!(queue.rtt.unwrap().smoothed, Duration::from_micros(5060));
            assert_eq!(at(8086, 49898).receive_queue, 128_512);
            let new = !name.contains("_v4_");
            assert_eq!(queue.bytes_sent, new.then_some(176_128), "{name}");
            assert_eq!(
                queue.notsent,
                if name.contains("v4_4") { 0 } else { 3_782_144 }
            );
            assert_eq!(
                at(8082, 39168).local.address.to_string(),
                "127.0.0.1",
                "{name}"
            );
            assert_eq!(at(8083, 50348).local.address.to_string(), "::1", "{name}");
            assert_eq!(
                at(8084, 59494).local.zone.as_deref(),
                Some("eth0"),
                "{name}"
            );
            if name.contains("tunapie") {
                assert_eq!(at(43424, 443).cookie, Some(0x604a), "{name}");
                assert_eq!(at(43424, 443).inode, Some(177_624), "{name}");
            }
            if name.contains("tunap") && !name.contains("unpriv") {
                let shared = parsed
                    .sockets
                    .iter()
                    .find(|it| it.local.port == 8080)
                    .unwrap();
                assert_eq!(shared.holders.len(), 3, "{name}");
                assert_eq!(at(50792, 8081).holders[0].name, r#"cli"2""#, "{name}");
                assert_eq!(at(39168, 8082).holders[0].name, "cli(3", "{name}");
            }
        }
    }

    #[test]
    fn cut_output_never_gives_a_figure_that_the_whole_does_not_have() {
        for (name, text) in folder("tests/fixtures/ss") {
            let whole = parse_ss(&text).sockets;
            for cut in 0..text.len() {
                let part = parse_ss(&text[..cut]).sockets;
                for (mut row, whole) in part.into_iter().zip(&whole) {
                    // A row of two lines may have lost its second.
                    if row.tcp.is_none() {
                        row.tcp = whole.tcp;
                    }
                    assert_eq!(row, *whole, "{name} cut at {cut}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse_ss(&bytes);
        }

        #[test]
        fn no_rest_of_a_row_makes_it_panic(rest in "\\PC*") {
            parse_ss(format!("tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"{rest}\n").as_bytes());
            parse_ss(format!("tcp ESTAB 0 0 {rest}\n\t {rest}\n").as_bytes());
        }

        #[test]
        fn a_name_never_changes_anything_but_itself(name in "[^)]{0,15}") {
            let line = format!(
                "tcp ESTAB 1 2 10.0.0.1:1 10.0.0.2:2 users:((\"{name}\",pid=77,fd=9)) ino:5 sk:6 \
                 <-> rto:1 bytes_received:10\n"
            );
            let parsed = parse_ss(line.as_bytes());
            prop_assert_eq!(parsed.sockets.len(), 1);
            let socket = &parsed.sockets[0];
            prop_assert_eq!(&socket.holders, &[SsHolder { name, pid: 77 }]);
            prop_assert_eq!(socket.inode, Some(5));
            prop_assert_eq!(socket.tcp.unwrap().bytes_received, 10);
        }
    }
}
