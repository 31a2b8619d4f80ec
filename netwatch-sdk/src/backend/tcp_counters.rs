//! From the kernel's TCP counters to the payload bytes of a socket's processes.
//!
//! The counters run in sequence space, where a SYN and a FIN take one number
//! each, and they count what the network did. With the lengths of the queues
//! they give what the calls did:
//!
//! - **received** = `bytes_received` − receive queue: what receive calls took
//!   out. A FIN is counted in both while it waits in the queue, and in
//!   `bytes_received` alone once the reader has reached the end.
//! - **sent**: what send calls put in, which is `bytes_acked` + send queue, less the
//!   SYN of the side that connected and less a FIN. Where both ends of that range
//!   move during the reading, `bytes_sent` − `bytes_retrans` + not yet sent (4.19)
//!   is the limit: it is consistent in itself, but counts a segment twice that the
//!   queue of this host's own interface refused.
//! - Before 4.19: `bytes_acked` less the SYN of the side that connected and less
//!   an acknowledged FIN; bytes on their way are missing until acknowledged.
//!
//! Where the kernel does TLS, these are its records with their headers.

use crate::reading::{Accuracy, Direction, Payload, SocketState};

/// What the kernel counted for one TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpCounters {
    pub(crate) state: SocketState,
    /// Bytes that arrived and were not taken out, a FIN included.
    pub(crate) receive_queue: u64,
    /// Sequence numbers that arrived in order, a FIN included (4.1).
    pub(crate) bytes_received: u64,
    /// Sequence numbers acknowledged by the peer (4.1).
    pub(crate) bytes_acked: u64,
    /// Sequence numbers that were put in and not acknowledged, a FIN included.
    pub(crate) send_queue: u64,
    /// `None` where the source is older than Linux 4.19 or iproute2 5.
    pub(crate) sent: Option<Sent>,
}

/// Payload that was put on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Bytes sent for the first time.
    pub(crate) once: u64,
    /// Sequence numbers that wait to be sent, a FIN included (4.6).
    pub(crate) waiting: u64,
    /// Whether everything sent was acknowledged.
    pub(crate) all_acked: bool,
}

/// Whether the reader of a socket took its FIN out of the receive queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fin {
    Taken,
    NotTaken,
    Unknown,
}

/// Payload, and how close it is to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) payload: Payload,
    pub(crate) accuracy: Accuracy,
}

impl Measured {
    /// Multipath TCP can send a byte several times, and TLS adds its headers: what a socket
    /// below them carried is an estimate of what calls moved.
    pub(crate) const fn below_ulp(mut self, has_ulp: bool) -> Self {
        if has_ulp {
            self.accuracy = Accuracy::Estimate;
        }
        self
    }
}

impl TcpCounters {
    /// The payload of a socket. `fin` matters for a closed one only: in every
    /// other state the state tells. `direction` matters before 4.19 only.
    pub(crate) fn measure(&self, fin: Fin, direction: Option<Direction>) -> Measured {
        let (rx_bytes, rx_exact) = self.received(fin);
        let (tx_bytes, tx_exact) = match self.sent {
            Some(sent) => self.accepted(sent, direction),
            None => self.acknowledged(direction),
        };
        Measured {
            payload: Payload { rx_bytes, tx_bytes },
            accuracy: if rx_exact && tx_exact {
                Accuracy::Exact
            } else {
                Accuracy::LowerBound
            },
        }
    }

    /// `Some` when the state tells whether a FIN has arrived.
    pub(crate) const fn fin_arrived(&self) -> Option<bool> {
        match self.state {
            SocketState::Established
            | SocketState::SynSent
            | SocketState::SynReceived
            | SocketState::FinWait1
            | SocketState::FinWait2
            | SocketState::Listen => Some(false),
            SocketState::CloseWait
            | SocketState::LastAck
            | SocketState::Closing
            | SocketState::TimeWait => Some(true),
            SocketState::Closed | SocketState::Other(_) => None,
        }
    }

    /// Bytes that arrived and were taken out or, in a closed socket's queue, lost.
    pub(crate) const fn taken(&self) -> u64 {
        self.bytes_received.saturating_sub(self.receive_queue)
    }

    /// Whether the kernel disconnected the socket (`SO_LINGER` 0, `connect` to `AF_UNSPEC`):
    /// it clears the counters, and moves the number of the next byte far ahead, which
    /// looks like bytes that wait.
    pub(crate) fn was_cleared(&self) -> bool {
        let waits = self
            .sent
            .is_some_and(|sent| sent.once == 0 && sent.waiting > 0);
        waits && self.state == SocketState::Closed && self.bytes_acked == 0
    }

    /// Who connected: only a connecting side's SYN is in `bytes_acked`.
    ///
    /// `None` while data is on its way, once this side has closed, and for a
    /// socket whose counters were restored.
    pub(crate) const fn direction(&self) -> Option<Direction> {
        let Some(sent) = self.sent else { return None };
        if !matches!(
            self.state,
            SocketState::Established | SocketState::CloseWait
        ) || !sent.all_acked
        {
            return None;
        }
        match self.bytes_acked.checked_sub(sent.once) {
            Some(0) => Some(Direction::Incoming),
            Some(1) => Some(Direction::Outgoing),
            _ => None,
        }
    }

    /// Whether the peer acknowledged a FIN of this side; `None` when that cannot be told.
    pub(crate) fn own_fin_acked(&self, direction: Option<Direction>) -> Option<bool> {
        let sent = self.sent?;
        let flags = self.bytes_acked.checked_sub(sent.once)?;
        match (direction, flags) {
            (_, 2) | (Some(Direction::Incoming), 1) => Some(true),
            (Some(Direction::Outgoing), 1) | (_, 0) => Some(false),
            _ => None,
        }
    }

    fn received(&self, fin: Fin) -> (u64, bool) {
        let taken = self.taken();
        let fin = match self.fin_arrived() {
            // A FIN in the queue is in both counts.
            _ if self.receive_queue > 0 || taken == 0 => Fin::NotTaken,
            Some(true) => Fin::Taken,
            Some(false) => Fin::NotTaken,
            None => fin,
        };
        match fin {
            Fin::NotTaken => (taken, true),
            Fin::Taken => (taken - 1, true),
            Fin::Unknown => (taken - 1, false),
        }
    }

    fn accepted(&self, sent: Sent, direction: Option<Direction>) -> (u64, bool) {
        let (fin, fin_waits) = match self.state {
            SocketState::FinWait1 | SocketState::Closing | SocketState::LastAck => {
                (1, u64::from(sent.waiting > 0))
            }
            SocketState::FinWait2 | SocketState::TimeWait => (1, 0),
            // Aborted: whether a FIN waited behind the data is not known.
            SocketState::Closed => (0, u64::from(sent.waiting > 0)),
            _ => (0, 0),
        };
        if self.was_cleared() {
            return (0, false);
        }
        let closed = self.state == SocketState::Closed;
        let transmitted = sent
            .once
            .saturating_add(sent.waiting.saturating_sub(fin_waits));
        let with_syn = self
            .bytes_acked
            .saturating_add(self.send_queue)
            .saturating_sub(fin);
        match direction {
            Some(Direction::Incoming) if !closed => (transmitted.min(with_syn), true),
            Some(Direction::Outgoing) if !closed => {
                (transmitted.min(with_syn.saturating_sub(1)), true)
            }
            _ if transmitted <= with_syn => (transmitted, !(closed && fin_waits > 0)),
            // A SYN, and a FIN once closed, may be among these.
            _ => (with_syn.saturating_sub(1 + u64::from(closed)), false),
        }
    }

    fn acknowledged(&self, direction: Option<Direction>) -> (u64, bool) {
        let syn = u64::from(direction != Some(Direction::Incoming));
        let fin = matches!(
            self.state,
            SocketState::FinWait2 | SocketState::TimeWait | SocketState::Closed
        );
        let bytes = self
            .bytes_acked
            .saturating_sub(syn)
            .saturating_sub(u64::from(fin));
        // Not even a SYN was acknowledged, and nothing waits.
        let is_idle = self.bytes_acked == 0 && self.send_queue == 0;
        (bytes, is_idle && !fin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(state: SocketState) -> TcpCounters {
        TcpCounters {
            state,
            receive_queue: 0,
            bytes_received: 0,
            bytes_acked: 0,
            send_queue: 0,
            sent: Some(Sent {
                once: 0,
                waiting: 0,
                all_acked: true,
            }),
        }
    }

    fn exact(rx_bytes: u64, tx_bytes: u64) -> Measured {
        Measured {
            payload: Payload { rx_bytes, tx_bytes },
            accuracy: Accuracy::Exact,
        }
    }

    #[test]
    fn a_socket_whose_counters_were_cleared_claims_nothing() {
        let socket = TcpCounters {
            sent: Some(Sent {
                once: 0,
                waiting: 111_617,
                all_acked: true,
            }),
            ..counters(SocketState::Closed)
        };
        let measured = socket.measure(Fin::Unknown, None);
        assert_eq!(measured.payload, Payload::default());
        assert_eq!(measured.accuracy, Accuracy::LowerBound);
    }

    #[test]
    fn bytes_in_the_receive_queue_are_not_received_yet() {
        let socket = TcpCounters {
            bytes_received: 1000,
            receive_queue: 400,
            ..counters(SocketState::Established)
        };
        assert_eq!(socket.measure(Fin::Unknown, None), exact(600, 0));
    }

    #[test]
    fn a_fin_counts_neither_in_the_queue_nor_once_read() {
        let read = TcpCounters {
            bytes_received: 1001,
            ..counters(SocketState::CloseWait)
        };
        assert_eq!(read.measure(Fin::Unknown, None), exact(1000, 0));
        let queued = TcpCounters {
            receive_queue: 1,
            ..read
        };
        assert_eq!(queued.measure(Fin::Unknown, None), exact(1000, 0));
    }

    #[test]
    fn bytes_waiting_to_be_sent_count_and_a_waiting_fin_does_not() {
        let mut socket = counters(SocketState::FinWait1);
        socket.send_queue = 101;
        socket.sent = Some(Sent {
            once: 10,
            waiting: 91,
            all_acked: false,
        });
        assert_eq!(socket.measure(Fin::Unknown, None), exact(0, 100));
        socket.state = SocketState::Established;
        assert_eq!(socket.measure(Fin::Unknown, None), exact(0, 101));
    }

    #[test]
    fn a_segment_that_the_interface_refused_and_that_was_sent_again_counts_once() {
        let mut socket = TcpCounters {
            bytes_acked: 1001,
            ..counters(SocketState::Established)
        };
        socket.sent = Some(Sent {
            once: 1500,
            waiting: 0,
            all_acked: true,
        });
        let outgoing = socket.measure(Fin::Unknown, Some(Direction::Outgoing));
        assert_eq!(outgoing, exact(0, 1000));
        socket.state = SocketState::Closed;
        let closed = socket.measure(Fin::Unknown, None);
        assert_eq!(closed.payload.tx_bytes, 999);
        assert_eq!(closed.accuracy, Accuracy::LowerBound);
    }

    #[test]
    fn acknowledgements_that_arrive_during_the_reading_do_not_count_twice() {
        let mut socket = TcpCounters {
            bytes_acked: 801,
            send_queue: 1000,
            ..counters(SocketState::Established)
        };
        socket.sent = Some(Sent {
            once: 1000,
            waiting: 0,
            all_acked: false,
        });
        let measured = socket.measure(Fin::Unknown, Some(Direction::Outgoing));
        assert_eq!(measured, exact(0, 1000));
    }

    #[test]
    fn a_closed_socket_is_exact_when_its_end_is_known_and_a_lower_bound_otherwise() {
        let socket = TcpCounters {
            bytes_received: 1001,
            ..counters(SocketState::Closed)
        };
        assert_eq!(socket.measure(Fin::Taken, None), exact(1000, 0));
        assert_eq!(socket.measure(Fin::NotTaken, None), exact(1001, 0));
        let unknown = socket.measure(Fin::Unknown, None);
        assert_eq!(unknown.payload.rx_bytes, 1000);
        assert_eq!(unknown.accuracy, Accuracy::LowerBound);
    }

    #[test]
    fn a_closed_socket_that_received_nothing_is_exact() {
        let socket = counters(SocketState::Closed);
        assert_eq!(socket.measure(Fin::Unknown, None), exact(0, 0));
    }

    #[test]
    fn the_side_that_connected_is_told_by_its_syn() {
        let mut socket = counters(SocketState::Established);
        socket.sent = Some(Sent {
            once: 60000,
            waiting: 0,
            all_acked: true,
        });
        socket.bytes_acked = 60001;
        assert_eq!(socket.direction(), Some(Direction::Outgoing));
        socket.bytes_acked = 60000;
        assert_eq!(socket.direction(), Some(Direction::Incoming));
        socket.bytes_acked = 59999;
        assert_eq!(socket.direction(), None);
    }

    #[test]
    fn before_4_19_acknowledged_bytes_less_syn_and_fin_are_a_lower_bound() {
        let old = TcpCounters {
            bytes_acked: 60002,
            sent: None,
            ..counters(SocketState::FinWait2)
        };
        let measured = old.measure(Fin::Unknown, Some(Direction::Outgoing));
        assert_eq!(measured.payload.tx_bytes, 60000);
        assert_eq!(measured.accuracy, Accuracy::LowerBound);
    }

    proptest::proptest! {
        #[test]
        fn no_counters_make_it_panic_or_exceed_what_arrived(
            state in 0u8..20, receive_queue: u32, send_queue: u32, bytes_received: u64, bytes_acked: u64,
            sent in proptest::option::of((0u64.., 0u64.., proptest::bool::ANY)),
        ) {
            let socket = TcpCounters {
                state: SocketState::from_number(state),
                receive_queue: receive_queue.into(),
                bytes_received,
                bytes_acked,
                send_queue: send_queue.into(),
                sent: sent.map(|(once, waiting, all_acked)| Sent { once, waiting, all_acked }),
            };
            for fin in [Fin::Taken, Fin::NotTaken, Fin::Unknown] {
                let measured = socket.measure(fin, socket.direction());
                proptest::prop_assert!(measured.payload.rx_bytes <= bytes_received);
            }
        }
    }
}
