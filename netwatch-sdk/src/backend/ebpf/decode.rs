//! Kernel bytes to typed values.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use netwatch_common::{
    process::ProcessKey,
    socket::{FLAG_INCOMING, FLAG_LISTENING, FLAG_OUTGOING, SocketHeader, SocketRow},
};

use super::accounts;
use crate::reading::{
    Accuracy, Attribution, Direction, Netns, Payload, Pid, ProcessId, Protocol, Rtt, Socket,
    SocketId, SocketState,
};

const AF_INET6: u16 = 10;

/// Bytes to text up to the first NUL; what is not UTF-8 is replaced.
pub(super) fn name(comm: &[u8; 16]) -> String {
    let end = comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}

/// A process of `PROCESSES`.
pub(super) fn attribution(key: &ProcessKey) -> Attribution {
    match *key {
        ProcessKey::NONE => Attribution::Unknown,
        ProcessKey::KERNEL => Attribution::Kernel,
        ProcessKey { start_ns, tgid, .. } => Attribution::Process(ProcessId {
            pid: Pid(tgid),
            started: start(start_ns),
        }),
    }
}

fn start(start_ns: u64) -> Option<Duration> {
    (start_ns != ProcessKey::START_UNKNOWN).then(|| Duration::from_nanos(start_ns))
}

pub(super) fn address(family: u16, words: [u64; 2], port: u16) -> SocketAddr {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = if family == AF_INET6 {
        // An IPv4 peer of an IPv6 socket is shown as IPv4.
        Ipv6Addr::from(bytes).to_canonical()
    } else {
        let [a, b, c, d, ..] = bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    SocketAddr::new(ip, port)
}

pub(super) fn rtt(header: &SocketHeader) -> Option<Rtt> {
    if header.srtt_8us == 0 {
        return None;
    }
    let micros = |value: u32| Duration::from_micros(u64::from(value));
    Some(Rtt {
        smoothed: micros(header.srtt_8us) / 8,
        variation: (header.mdev_4us != u32::MAX).then(|| micros(header.mdev_4us) / 4),
        minimum: (header.min_rtt_us != u32::MAX).then(|| micros(header.min_rtt_us)),
    })
}

pub(super) fn id(header: &SocketHeader) -> SocketId {
    SocketId(header.cookie)
}

pub(super) fn netns(header: &SocketHeader) -> Netns {
    Netns {
        cookie: (header.netns_cookie != 0).then_some(header.netns_cookie),
        inode: header.netns_inode,
    }
}

pub(super) fn local(header: &SocketHeader) -> SocketAddr {
    address(header.family, header.local, header.local_port)
}

pub(super) fn remote(header: &SocketHeader) -> SocketAddr {
    let port = u16::from_be(header.remote_port_be);
    address(header.family, header.remote, port)
}

/// One row of `OPEN` or `CLOSED`. `owner_name` is the owner's name now, where that
/// is known; the row has the one at the time it got its owner.
pub(super) fn socket(
    row: &SocketRow,
    owner_name: Option<&str>,
    counts_packets: bool,
    accuracy: Accuracy,
) -> Socket {
    let (header, record) = (&row.header, &row.record);
    let protocol = Protocol::from_number(header.protocol);
    let stream = matches!(protocol, Protocol::Tcp | Protocol::Mptcp);
    let state = SocketState::from_number(header.state);
    let remote = remote(header);
    let listens = stream && state == SocketState::Listen;
    let is_connected = remote.port() != 0 && !remote.ip().is_unspecified() && !listens;
    let owner = (record.owner != ProcessKey::NONE && record.owner != ProcessKey::KERNEL)
        .then_some(record.owner);
    Socket {
        id: id(header),
        netns: Some(netns(header)),
        protocol,
        local: local(header),
        remote: is_connected.then_some(remote),
        state,
        direction: if listens || record.flags & FLAG_LISTENING != 0 {
            Some(Direction::Listening)
        } else if record.flags & FLAG_OUTGOING != 0 {
            Some(Direction::Outgoing)
        } else if record.flags & FLAG_INCOMING != 0 {
            Some(Direction::Incoming)
        } else {
            None
        },
        uid: Some(header.uid),
        cgroup_id: (header.cgroup_id != 0).then_some(header.cgroup_id),
        owner: owner.map(|key| ProcessId {
            pid: Pid(key.tgid),
            started: start(key.start_ns),
        }),
        owner_name: owner.map(|_| owner_name.map_or_else(|| name(&record.comm), str::to_owned)),
        shared: record.shared_rx_bytes != 0 || record.shared_tx_bytes != 0,
        payload: Some(Payload {
            rx_bytes: record.rx_bytes + record.shared_rx_bytes,
            tx_bytes: record.tx_bytes + record.shared_tx_bytes,
        }),
        wire: counts_packets.then(|| accounts::wire(&record.wire)),
        rtt: if listens { None } else { rtt(header) },
        retransmits: (stream && !listens).then(|| u64::from(header.retransmits)),
        accuracy,
    }
}
