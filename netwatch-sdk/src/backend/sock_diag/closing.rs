//! Whether the FIN of a closed socket is among its received bytes.
//!
//! The last message about a socket says `CLOSE` whatever it went through, and a
//! FIN that its reader took looks like one more byte. What else is known mostly
//! tells; where nothing does, the figure is a lower bound that may be one byte short.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use super::message::DiagSocket;
use crate::{
    backend::tcp_counters::{Fin, TcpCounters},
    reading::{Direction, Protocol, SocketState},
};

/// Local and remote address.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// What the sockets of one namespace tell about those that closed.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Bytes sent by each socket, open or closed: one end's are the other's received.
    sent: HashMap<Ends, u64>,
    /// What is left of sockets that sent a FIN first.
    remnants: HashSet<Ends>,
    listening: HashSet<u16>,
}

impl Surroundings {
    /// Adds a socket that may listen: enough while nothing closes.
    pub(crate) fn listens(&mut self, socket: &DiagSocket) {
        if socket.state == SocketState::Listen {
            self.listening.insert(socket.local.port());
        }
    }

    /// Adds sockets that are open, or that closed: of two with the same addresses the later one
    /// counts.
    pub(crate) fn look_around<'a>(&mut self, sockets: impl IntoIterator<Item = &'a DiagSocket>) {
        for socket in sockets {
            let Some(ends) = socket.ends() else {
                continue;
            };
            if socket.is_remnant() {
                self.remnants.insert(ends);
            } else if let Some(sent) = socket.counters().and_then(|counters| counters.sent) {
                self.sent.insert(ends, sent.once);
            }
        }
    }

    /// Adds what a socket sent that closed some time before.
    pub(crate) fn remember(&mut self, ends: Ends, sent: u64) {
        self.sent.entry(ends).or_insert(sent);
    }

    /// Who opened a socket, by what else listens: a listener's port is not
    /// used to connect from.
    pub(crate) fn direction(&self, socket: &DiagSocket) -> Option<Direction> {
        (socket.protocol == Protocol::Tcp
            && socket.remote.is_some()
            && self.listening.contains(&socket.local.port()))
        .then_some(Direction::Incoming)
    }

    /// What became of the FIN of a closed socket that was last seen with `before`.
    pub(crate) fn fin(
        &self,
        socket: &DiagSocket,
        now: &TcpCounters,
        before: Option<&TcpCounters>,
        direction: Option<Direction>,
    ) -> Fin {
        let ends = socket.ends();
        let taken = now.taken();
        match before {
            Some(before) if before.fin_arrived() == Some(true) => return Fin::Taken,
            Some(before)
                if before.fin_arrived() == Some(false)
                    && before.bytes_received == now.bytes_received =>
            {
                return Fin::NotTaken;
            }
            _ => {}
        }
        let peer = ends.and_then(|(local, remote)| self.sent.get(&(remote, local)));
        if let Some(&sent) = peer {
            if sent == taken {
                return Fin::NotTaken;
            }
            if sent.checked_add(1) == Some(taken) {
                return Fin::Taken;
            }
        }
        // The side whose FIN comes first leaves a remnant for a minute; the
        // other side got that FIN before it sent its own.
        let closed_second = ends.is_some_and(|ends| !self.remnants.contains(&ends))
            && now.own_fin_acked(direction) == Some(true);
        match closed_second {
            true => Fin::Taken,
            false => Fin::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{sock_diag::tcp_info::TcpInfo, tcp_counters::Sent},
        reading::SocketId,
    };

    const NEAR: &str = "127.0.0.1:1000";
    const FAR: &str = "127.0.0.1:2000";

    fn socket(local: &str, remote: &str, state: SocketState, sent: u64) -> DiagSocket {
        DiagSocket {
            id: SocketId(1),
            protocol: Protocol::Tcp,
            local: local.parse().unwrap(),
            remote: Some(remote.parse().unwrap()),
            state,
            inode: 0,
            uid: 0,
            cgroup_id: None,
            receive_queue: 0,
            send_queue: 0,
            has_ulp: false,
            info: Some(TcpInfo {
                state,
                unacked: 0,
                rtt: None,
                total_retrans: 0,
                bytes_acked: Some(0),
                bytes_received: Some(0),
                notsent_bytes: Some(0),
                bytes_sent: Some(sent),
                bytes_retrans: Some(0),
            }),
        }
    }

    fn counters(state: SocketState, bytes_received: u64, bytes_acked: u64) -> TcpCounters {
        TcpCounters {
            state,
            receive_queue: 0,
            bytes_received,
            bytes_acked,
            send_queue: 0,
            sent: Some(Sent {
                once: 0,
                waiting: 0,
                all_acked: true,
            }),
        }
    }

    fn fin(
        others: &[DiagSocket],
        now: TcpCounters,
        before: Option<TcpCounters>,
        direction: Option<Direction>,
    ) -> Fin {
        let closed = socket(NEAR, FAR, SocketState::Closed, 0);
        let mut near = Surroundings::default();
        near.look_around(others);
        near.fin(&closed, &now, before.as_ref(), direction)
    }

    #[test]
    fn a_fin_seen_before_the_end_is_among_the_bytes() {
        let before = counters(SocketState::CloseWait, 101, 0);
        let now = counters(SocketState::Closed, 101, 0);
        assert_eq!(fin(&[], now, Some(before), None), Fin::Taken);
    }

    #[test]
    fn bytes_that_did_not_grow_hold_no_fin() {
        let before = counters(SocketState::Established, 100, 0);
        let now = counters(SocketState::Closed, 100, 0);
        assert_eq!(fin(&[], now, Some(before), None), Fin::NotTaken);
    }

    #[test]
    fn the_other_end_on_the_same_host_tells() {
        let other = [socket(FAR, NEAR, SocketState::Closed, 100)];
        let with = counters(SocketState::Closed, 101, 0);
        assert_eq!(fin(&other, with, None, None), Fin::Taken);
        let without = counters(SocketState::Closed, 100, 0);
        assert_eq!(fin(&other, without, None, None), Fin::NotTaken);
    }

    #[test]
    fn the_side_that_closed_second_has_taken_the_fin() {
        let now = counters(SocketState::Closed, 101, 2);
        assert_eq!(fin(&[], now, None, None), Fin::Taken);
        let accepted = counters(SocketState::Closed, 101, 1);
        assert_eq!(
            fin(&[], accepted, None, Some(Direction::Incoming)),
            Fin::Taken
        );
    }

    #[test]
    fn the_side_that_closed_first_or_was_reset_may_or_may_not_have_taken_it() {
        let mut remnant = socket(NEAR, FAR, SocketState::TimeWait, 0);
        remnant.info = None;
        let now = counters(SocketState::Closed, 101, 2);
        assert_eq!(fin(&[remnant], now, None, None), Fin::Unknown);
        let reset = counters(SocketState::Closed, 101, 0);
        assert_eq!(fin(&[], reset, None, None), Fin::Unknown);
    }
}
