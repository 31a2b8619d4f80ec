//! One row: a socket, who holds it, and what is said about it.

use std::net::{IpAddr, Ipv6Addr};

use super::{LONGEST_NAME, SsEnd, SsHolder, SsSocket, tcp::parse_tcp};
use crate::reading::{Protocol, SocketState};

/// Whether the processes of a row end in it.
pub(super) fn users_end_here(row: &str) -> bool {
    match row.split_once("users:(") {
        Some((_, users)) => parse_users(users).is_some(),
        None => true,
    }
}

pub(super) fn parse_row(
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
pub(super) fn parse_users(text: &str) -> Option<(Vec<SsHolder>, &str)> {
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
pub(super) fn state_column(word: &str) -> Option<(SocketState, &str)> {
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
pub(super) fn parse_end(text: &str, star: IpAddr) -> Option<SsEnd> {
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
