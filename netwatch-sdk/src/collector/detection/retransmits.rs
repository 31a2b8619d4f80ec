//! Segments sent again, from one reading to the next.

use std::collections::HashMap;

use crate::{
    detect::{Actor, Event, Retransmits},
    reading::{Netns, Reading, Socket, SocketId},
};

/// The figures of the previous reading.
#[derive(Debug, Default)]
pub(super) struct Previous {
    /// Segments sent again, and sent, by socket; `None` before the first reading.
    sockets: Option<HashMap<Key, (u64, u64)>>,
}

/// Before Linux 5.3 a cookie is unique in its namespace only.
type Key = (Option<Netns>, SocketId);

const fn key(socket: &Socket) -> Key {
    (socket.netns, socket.id)
}

impl Previous {
    /// Gives what was sent since the previous reading to `observe`. The first one is
    /// what the others count from.
    pub(super) fn update(&mut self, reading: &Reading, mut observe: impl FnMut(&Event<'_>)) {
        if let Some(sockets) = &self.sockets {
            for socket in reading.open.iter().chain(&reading.closed) {
                let before = sockets.get(&key(socket)).copied().unwrap_or_default();
                if let Some(event) = since(before, socket) {
                    observe(&event);
                }
            }
        }
        let figures =
            |socket: &Socket| (key(socket), (socket.retransmits.unwrap_or(0), sent(socket)));
        self.sockets = Some(reading.open.iter().map(figures).collect());
    }
}

fn sent(socket: &Socket) -> u64 {
    socket.wire.map_or(0, |wire| wire.tx_packets)
}

fn since(before: (u64, u64), socket: &Socket) -> Option<Event<'_>> {
    let retransmitted = socket.retransmits?.saturating_sub(before.0);
    let sent = socket.wire.map(|_| sent(socket).saturating_sub(before.1));
    if retransmitted == 0 && sent.unwrap_or(0) == 0 {
        return None;
    }
    let actor = socket.owner.zip(socket.owner_name.as_deref());
    Some(Event::Retransmits(Retransmits {
        remote: socket.remote?.ip().into(),
        retransmitted,
        sent,
        actor: actor.map(|(id, name)| Actor { pid: id.pid, name }),
    }))
}
