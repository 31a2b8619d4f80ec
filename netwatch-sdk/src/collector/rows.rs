//! Readings to wire rows: what moved between two of them.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use super::reader::Totals;
use crate::{
    event::container_id,
    reading::{Attribution, Payload, Process, Protocol, Reading, Socket, SocketState, WireBytes},
    wire::{ConnectionDetail, ProcessBandwidth, Snapshot, Source},
};

/// The network part of a snapshot.
pub(super) fn snapshot(
    reading: Reading,
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
        connections: Some(
            reading
                .open
                .into_iter()
                .map(|socket| connection_row(socket, false, reading.source))
                .chain(
                    reading
                        .closed
                        .into_iter()
                        .map(|socket| connection_row(socket, true, reading.source)),
                )
                .collect(),
        ),
        alerts: None,
        dns_analytics: None,
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

/// `address:port`; IPv6 in brackets. As `Display` writes it, in a fraction of the time.
fn endpoint(address: SocketAddr) -> String {
    const LONGEST_V4: usize = "255.255.255.255:65535".len();
    let SocketAddr::V4(v4) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity(LONGEST_V4);
    let mut number = |number: u16, then: Option<char>| {
        let mut divisor = 10_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            text.push(char::from(b'0' + (number / divisor % 10) as u8));
            divisor /= 10;
        }
        text.extend(then);
    };
    let [a, b, c, d] = v4.ip().octets();
    for (octet, then) in [(a, '.'), (b, '.'), (c, '.'), (d, ':')] {
        number(octet.into(), Some(then));
    }
    number(v4.port(), None);
    text
}

/// One socket as it goes over the wire.
pub(crate) fn connection_row(socket: Socket, closed: bool, source: Source) -> ConnectionDetail {
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let remote = socket.remote.map_or_else(|| "*:*".to_owned(), endpoint);
    ConnectionDetail {
        protocol: socket.protocol.to_string(),
        local_addr: endpoint(socket.local),
        remote_addr: remote,
        state: socket.state.name(socket.protocol).to_owned(),
        pid: socket.owner.map(|owner| owner.pid.0),
        process_name: socket.owner_name,
        kernel_rtt_us: socket.rtt.map(|rtt| micros(rtt.smoothed)),
        rx_bytes: socket.payload.map(|payload| payload.rx_bytes),
        tx_bytes: socket.payload.map(|payload| payload.tx_bytes),
        wire_rx_bytes: socket.wire.map(|wire| wire.rx_bytes),
        wire_tx_bytes: socket.wire.map(|wire| wire.tx_bytes),
        wire_rx_packets: socket.wire.map(|wire| wire.rx_packets),
        wire_tx_packets: socket.wire.map(|wire| wire.tx_packets),
        loopback_bytes: socket
            .wire
            .map(|wire| wire.loopback_rx_bytes + wire.loopback_tx_bytes),
        rtt_var_us: socket.rtt.and_then(|rtt| rtt.variation).map(micros),
        rtt_min_us: socket.rtt.and_then(|rtt| rtt.minimum).map(micros),
        retransmits: socket.retransmits,
        direction: socket
            .direction
            .map(|direction| direction.name().to_owned()),
        uid: socket.uid,
        cookie: Some(socket.id.0),
        netns_cookie: socket.netns.and_then(|netns| netns.cookie),
        netns_inode: socket.netns.map(|netns| netns.inode),
        cgroup_id: socket.cgroup_id,
        closed: closed.then_some(true),
        source: Some(source),
        accuracy: Some(socket.accuracy),
    }
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
            assert_eq!(endpoint(address), address.to_string());
        }
    }
}
