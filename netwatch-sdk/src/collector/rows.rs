//! Readings to wire rows: what moved between two of them.

use std::{collections::HashMap, fmt::Write as _, mem, net::SocketAddr, time::Duration};

use super::reader::Totals;
use crate::{
    event::container_id,
    reading::{Attribution, Payload, Process, Protocol, Reading, Socket, SocketState, WireBytes},
    wire::{ConnectionDetail, ProcessBandwidth, Snapshot, Source},
};

/// The network part of a snapshot, without the connections.
pub(super) fn snapshot(
    reading: &Reading,
    previous: &HashMap<Attribution, Totals>,
    elapsed: Duration,
) -> Snapshot {
    let in_state = |state| {
        let count = reading
            .open
            .iter()
            .filter(|socket| is_tcp(socket) && socket.state == state)
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let (established, close_wait) = (
        in_state(SocketState::Established),
        in_state(SocketState::CloseWait),
    );
    Snapshot {
        timestamp: reading.timestamp,
        interfaces: Vec::new(),
        health: None,
        connection_count: Some(established),
        system: None,
        disk_usage: None,
        disk_io: None,
        tcp_time_wait: None,
        tcp_close_wait: Some(close_wait),
        processes: Some(
            reading
                .processes
                .iter()
                .filter_map(|process| {
                    let before = previous.get(&process.id).copied().unwrap_or_default();
                    process_row(process, before, elapsed, reading.source)
                })
                .collect(),
        ),
        connections: None,
        alerts: None,
        dns_analytics: None,
    }
}

/// The sockets of a reading, and whether each has closed.
fn sockets(reading: &mut Reading) -> impl Iterator<Item = (&mut Socket, bool)> {
    let open = reading.open.iter_mut().map(|socket| (socket, false));
    open.chain(reading.closed.iter_mut().map(|socket| (socket, true)))
}

/// A row for every socket.
pub(super) fn connections(mut reading: Reading) -> Vec<ConnectionDetail> {
    let source = reading.source;
    let mut rows = Vec::with_capacity(reading.open.len() + reading.closed.len());
    for (socket, closed) in sockets(&mut reading) {
        rows.push(ConnectionDetail::default());
        if let Some(row) = rows.last_mut() {
            fill_row(row, socket, closed, source);
        }
    }
    rows
}

/// The same rows, one at a time.
pub(super) fn each_connection(mut reading: Reading, mut row: impl FnMut(&ConnectionDetail)) {
    let source = reading.source;
    let mut place = ConnectionDetail::default();
    for (socket, closed) in sockets(&mut reading) {
        fill_row(&mut place, socket, closed, source);
        row(&place);
    }
}

fn is_tcp(socket: &Socket) -> bool {
    matches!(socket.protocol, Protocol::Tcp | Protocol::Mptcp)
}

/// `None` for a process that neither moved anything nor owns a socket.
fn process_row(
    process: &Process,
    before: Totals,
    elapsed: Duration,
    source: Source,
) -> Option<ProcessBandwidth> {
    let moved = Payload {
        rx_bytes: process
            .payload
            .rx_bytes
            .saturating_sub(before.payload.rx_bytes),
        tx_bytes: process
            .payload
            .tx_bytes
            .saturating_sub(before.payload.tx_bytes),
    };
    let wire = process.wire.map(|now| {
        let then = before.wire.unwrap_or_default();
        WireBytes {
            rx_bytes: now.rx_bytes.saturating_sub(then.rx_bytes),
            tx_bytes: now.tx_bytes.saturating_sub(then.tx_bytes),
            ..WireBytes::default()
        }
    });
    if moved == Payload::default()
        && wire.unwrap_or_default() == WireBytes::default()
        && process.sockets == 0
    {
        return None;
    }
    let seconds = elapsed.as_secs_f64();
    let rate = |bytes: u64| {
        if seconds > 0.0 {
            bytes as f64 / seconds
        } else {
            0.0
        }
    };
    let pid = match process.id {
        Attribution::Process(id) => Some(id.pid.0),
        _ => None,
    };
    let container_id = process.cgroup.as_deref().and_then(container_id);
    Some(ProcessBandwidth {
        wire_rx_bytes: wire.map(|wire| wire.rx_bytes),
        wire_tx_bytes: wire.map(|wire| wire.tx_bytes),
        cgroup: process.cgroup.clone(),
        container_id: container_id.map(str::to_owned),
        source: Some(source),
        accuracy: Some(process.accuracy),
        ..ProcessBandwidth::network_only(
            process.name.clone(),
            pid,
            moved.rx_bytes,
            moved.tx_bytes,
            rate(moved.rx_bytes),
            rate(moved.tx_bytes),
            process.sockets,
        )
    })
}

/// Writes `address:port`, IPv6 in brackets. As `Display` does, in a fraction of the time.
fn set_endpoint(text: &mut String, address: SocketAddr) {
    text.clear();
    let SocketAddr::V4(v4) = address else {
        // Writing to a string does not fail.
        let _ = write!(text, "{address}");
        return;
    };
    let mut bytes = mem::take(text).into_bytes();
    let mut number = |number: u16, then: Option<u8>| {
        let digits = [
            number / 10_000,
            number / 1_000 % 10,
            number / 100 % 10,
            number / 10 % 10,
            number % 10,
        ];
        let leading = digits.iter().take(4).take_while(|&&digit| digit == 0);
        let digits = digits.iter().skip(leading.count());
        bytes.extend(digits.map(|&digit| b'0' + digit as u8));
        bytes.extend(then);
    };
    let [a, b, c, d] = v4.ip().octets();
    for (octet, then) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b':')] {
        number(octet.into(), Some(then));
    }
    number(v4.port(), None);
    *text = String::from_utf8(bytes).unwrap_or_default();
}

fn set(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
}

/// One socket as it goes over the wire.
pub(crate) fn connection_row(mut socket: Socket, closed: bool, source: Source) -> ConnectionDetail {
    let mut row = ConnectionDetail::default();
    fill_row(&mut row, &mut socket, closed, source);
    row
}

/// Makes a row that socket's, in the memory of the one it was; takes its owner's name.
fn fill_row(row: &mut ConnectionDetail, socket: &mut Socket, is_closed: bool, by: Source) {
    let micros = |time: Duration| {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        nanos as f64 / 1000.0
    };
    let ConnectionDetail {
        protocol,
        local_addr,
        remote_addr,
        state,
        pid,
        process_name,
        kernel_rtt_us,
        rx_bytes,
        tx_bytes,
        wire_rx_bytes,
        wire_tx_bytes,
        wire_rx_packets,
        wire_tx_packets,
        loopback_bytes,
        rtt_var_us,
        rtt_min_us,
        retransmits,
        direction,
        uid,
        cookie,
        netns_cookie,
        netns_inode,
        cgroup_id,
        closed,
        source,
        accuracy,
    } = row;
    match socket.protocol {
        Protocol::Tcp => set(protocol, "TCP"),
        other => set(protocol, &other.to_string()),
    }
    set_endpoint(local_addr, socket.local);
    match socket.remote {
        Some(remote) => set_endpoint(remote_addr, remote),
        None => set(remote_addr, "*:*"),
    }
    set(state, socket.state.name(socket.protocol));
    *pid = socket.owner.map(|owner| owner.pid.0);
    mem::swap(process_name, &mut socket.owner_name);
    *kernel_rtt_us = socket.rtt.map(|rtt| micros(rtt.smoothed));
    *rx_bytes = socket.payload.map(|payload| payload.rx_bytes);
    *tx_bytes = socket.payload.map(|payload| payload.tx_bytes);
    *wire_rx_bytes = socket.wire.map(|wire| wire.rx_bytes);
    *wire_tx_bytes = socket.wire.map(|wire| wire.tx_bytes);
    *wire_rx_packets = socket.wire.map(|wire| wire.rx_packets);
    *wire_tx_packets = socket.wire.map(|wire| wire.tx_packets);
    *loopback_bytes = socket
        .wire
        .map(|wire| wire.loopback_rx_bytes + wire.loopback_tx_bytes);
    *rtt_var_us = socket.rtt.and_then(|rtt| rtt.variation).map(micros);
    *rtt_min_us = socket.rtt.and_then(|rtt| rtt.minimum).map(micros);
    *retransmits = socket.retransmits;
    match socket.direction {
        Some(to) => set(direction.get_or_insert_default(), to.name()),
        None => *direction = None,
    }
    *uid = socket.uid;
    *cookie = Some(socket.id.0);
    *netns_cookie = socket.netns.and_then(|netns| netns.cookie);
    *netns_inode = socket.netns.map(|netns| netns.inode);
    *cgroup_id = socket.cgroup_id;
    *closed = is_closed.then_some(true);
    *source = Some(by);
    *accuracy = Some(socket.accuracy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_display_writes_it() {
        for text in [
            "0.0.0.0:0",
            "127.0.0.1:80",
            "10.20.100.255:9",
            "255.255.255.255:65535",
            "192.0.2.10:10000",
            "[::1]:443",
            "[fe80::1%3]:53",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut endpoint = "what was there before".to_owned();
            set_endpoint(&mut endpoint, address);
            assert_eq!(endpoint, address.to_string());
        }
    }
}
