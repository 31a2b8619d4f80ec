//! What a line of `ss` says of a socket.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use nix::net::if_::if_nametoindex;

use crate::{
    backend::tcp_counters::{Sent, TcpCounters},
    parse::ss::{SsEnd, SsSocket},
    reading::{Direction, Protocol, SocketId, SocketState},
};

/// Set in the numbers of sockets that have no cookie.
const MADE_UP: u64 = 1 << 63;

/// What the kernel keeps of a TCP socket after the socket itself has gone.
pub(super) fn is_remnant(socket: &SsSocket) -> bool {
    socket.protocol == Protocol::Tcp
        && socket.tcp.is_none()
        && matches!(socket.state, SocketState::TimeWait | SocketState::FinWait2)
}

/// By its cookie, or by what else tells it from others.
pub(super) fn identity(socket: &SsSocket) -> SocketId {
    match socket.cookie {
        Some(cookie) if cookie != 0 => SocketId(cookie),
        _ => {
            let mut hasher = DefaultHasher::new();
            (socket.protocol, &socket.local, &socket.remote, socket.inode).hash(&mut hasher);
            SocketId(hasher.finish() | MADE_UP)
        }
    }
}

/// Who opened it, by what listens.
pub(super) fn direction(socket: &SsSocket, listening: &HashSet<u16>) -> Option<Direction> {
    match socket.protocol {
        Protocol::Tcp if socket.state == SocketState::Listen => Some(Direction::Listening),
        Protocol::Tcp if listening.contains(&socket.local.port) => Some(Direction::Incoming),
        _ => None,
    }
}

/// `prints_sent`: this `ss` leaves out what was sent only when it is zero.
pub(super) fn counters(socket: &SsSocket, prints_sent: bool) -> Option<TcpCounters> {
    let tcp = socket.tcp?;
    let sent = match tcp.bytes_sent {
        Some(sent) => Some(sent.saturating_sub(tcp.bytes_retrans)),
        // Zero is left out.
        None => prints_sent.then_some(0),
    };
    Some(TcpCounters {
        state: socket.state,
        receive_queue: socket.receive_queue,
        bytes_received: tcp.bytes_received,
        bytes_acked: tcp.bytes_acked,
        send_queue: socket.send_queue,
        sent: sent.map(|once| Sent {
            once,
            waiting: tcp.notsent,
            all_acked: tcp.unacked == 0,
        }),
    })
}

pub(super) fn address(end: &SsEnd) -> SocketAddr {
    match end.address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            let zone = end.zone.as_deref();
            let scope = zone.and_then(|zone| if_nametoindex(zone).ok());
            SocketAddrV6::new(address, end.port, 0, scope.unwrap_or_default()).into()
        }
        address => SocketAddr::new(address, end.port),
    }
}
