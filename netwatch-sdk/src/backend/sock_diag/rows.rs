//! The rows of sockets: open ones, those whose end was heard of, those that vanished.

use std::collections::HashMap;

use super::{SockDiag, closing::Surroundings, message::DiagSocket, namespace::Place};
use crate::{
    backend::{
        ledger::{Account, Holder},
        tcp_counters::{Fin, Measured, TcpCounters},
    },
    reading::{Accuracy, Direction, Netns, Protocol, Socket, SocketState},
};

/// A dump can miss a socket while others come and go.
const MISSING_READINGS: u64 = 2;
/// Sockets that vanished and whose end was not heard of.
const MOST_VANISHED: usize = 65_536;

/// A socket that was there at the last reading.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) last: DiagSocket,
    pub(super) netns: Netns,
    pub(super) measured: Option<Measured>,
    pub(super) direction: Option<Direction>,
    /// The reading in which it was last there.
    pub(super) seen: u64,
    /// Overruns when it was last there.
    pub(super) overruns: u64,
    /// Readings in which it was there and nobody held it.
    pub(super) unheld: u32,
}

impl SockDiag {
    /// Puts an open socket into its owner's row.
    fn list(&mut self, row: &mut Socket) {
        if let Some(owner) = row.owner
            && let Some(name) = self.owners.name(owner)
        {
            self.roster.name(owner, name);
        }
        self.roster.saw(row);
    }

    /// Counts one open socket and describes it.
    pub(super) fn open(&mut self, now: DiagSocket, place: Place, near: &Surroundings) -> Socket {
        let Place {
            netns,
            since,
            found,
        } = place;
        let known = self.tracked.get(&now.id);
        let counters = now.counters();
        let before = known.and_then(|known| known.last.counters());
        let direction = match now.state {
            SocketState::Listen => Some(Direction::Listening),
            _ => known
                .and_then(|known| known.direction)
                .or_else(|| counters.and_then(|it| it.direction()))
                .or_else(|| near.direction(&now)),
        };
        if let (Some(before), Some(counters)) = (before, counters)
            && restarted(&before, &counters)
        {
            self.ledger.restart(now.id);
        }
        let measured = counters.map(|it| {
            let measured = it.measure(Fin::Unknown, direction);
            measured.of_subflow(now.is_subflow)
        });
        let unheld = match self.owners.of(now.inode) {
            [] if now.inode != 0 => known.map_or(0, |known| known.unheld) + 1,
            _ => 0,
        };
        let holder = match self.owners.of(now.inode) {
            // Its process may have ended between the list of sockets and that of processes.
            [] if unheld < 2 => Holder::Nobody,
            [] if self.owners.sees_all() && now.uid == 0 => Holder::Kernel,
            [] => Holder::Unknown,
            holders => Holder::Processes(holders),
        };
        let mut row = describe(&now, netns, direction);
        if let Some(measured) = measured {
            let account = self.ledger.record(now.id, measured.payload, since, holder);
            row.owner = account.owner();
            row.shared = account.shared();
            row.accuracy = measured.accuracy;
        } else if let Holder::Processes(holders) = holder {
            row.owner = holders.first().copied();
            row.shared = holders.len() > 1;
        }
        row.payload = measured.map(|it| it.payload);
        if let Some(owner) = row.owner
            && found.is_some_and(|found| owner.started.is_none_or(|started| started < found))
        {
            self.roster.missed(owner);
        }
        self.list(&mut row);
        self.tracked.insert(
            now.id,
            Tracked {
                last: now,
                netns,
                measured,
                direction,
                seen: self.reading,
                overruns: self.overruns,
                unheld,
            },
        );
        row
    }

    /// Counts one socket whose end was heard of. `None` for one that never was of interest.
    pub(super) fn heard_end(
        &mut self,
        end: &DiagSocket,
        netns: Netns,
        near: &Surroundings,
    ) -> Option<Socket> {
        let known = self.tracked.remove(&end.id);
        let Some(counters) = end.counters() else {
            let Some(known) = known else {
                self.unseen_udp |= end.protocol == Protocol::Udp;
                return None;
            };
            return Some(self.close(known));
        };
        let before = known.as_ref().and_then(|known| known.last.counters());
        if known.is_none() {
            self.cleared += u64::from(counters.was_cleared());
            end.remote?;
        }
        // Cleared by the kernel: the last reading is all there is.
        if let (Some(before), Some(known_socket)) = (before, &known)
            && restarted(&before, &counters)
            && known_socket.measured.is_some()
        {
            return known.map(|known| self.close(known));
        }
        let direction = known
            .as_ref()
            .and_then(|known| known.direction)
            .or_else(|| near.direction(end));
        let fin = near.fin(end, &counters, before.as_ref(), direction);
        let is_subflow = known.as_ref().is_some_and(|known| known.last.is_subflow);
        let measured = counters.measure(fin, direction).of_subflow(is_subflow);
        let account = self.ledger.close(end.id, Some(measured.payload));
        let mut row = describe(end, netns, direction);
        if let Some(known) = known {
            // The message about the end has none of these.
            row.local = known.last.local;
            row.remote = known.last.remote;
            row.uid = Some(known.last.uid);
            row.cgroup_id = known.last.cgroup_id;
            row.rtt = row.rtt.or(known.last.info.and_then(|info| info.rtt));
        } else {
            row.uid = None;
        }
        row.owner = account.owner();
        row.shared = account.shared();
        row.payload = Some(measured.payload);
        row.accuracy = measured.accuracy;
        self.roster.saw_end(&mut row);
        Some(row)
    }

    /// Counts one socket of which the last reading is all that is known.
    fn close(&mut self, known: Tracked) -> Socket {
        let account = match known.measured {
            Some(_) => Some(self.ledger.close(known.last.id, None)),
            None => None,
        };
        let mut row = describe(&known.last, known.netns, known.direction);
        row.state = SocketState::Closed;
        row.payload = known.measured.map(|measured| measured.payload);
        row.accuracy = Accuracy::LowerBound;
        match account {
            Some(account) => {
                row.owner = account.owner();
                row.shared = account.shared();
            }
            None => row.owner = self.owners.of(known.last.inode).first().copied(),
        }
        self.roster.saw_end(&mut row);
        row
    }

    /// Gives up sockets that vanished and whose end will not be heard of, and
    /// lists those that a process still holds.
    pub(super) fn settle_vanished(&mut self, open: &mut Vec<Socket>, closed: &mut Vec<Socket>) {
        let vanished = |it: &&Tracked| it.seen != self.reading;
        let crowded = self.tracked.values().filter(vanished).count() > MOST_VANISHED;
        let hears: HashMap<u32, bool> = self
            .namespaces
            .iter()
            .map(|namespace| (namespace.netns.inode, namespace.closings.is_ok()))
            .collect();
        let mut gone = Vec::new();
        let mut held = Vec::new();
        for (&id, tracked) in &self.tracked {
            let missing = self.reading - tracked.seen;
            let heard_of = match hears.get(&tracked.netns.inode) {
                Some(hears) => *hears && tracked.overruns == self.overruns,
                None => false,
            };
            if missing == 0 {
            } else if crowded || (!heard_of && missing >= MISSING_READINGS) {
                gone.push(id);
            } else if !self.owners.of(tracked.last.inode).is_empty() {
                held.push(id);
            }
        }
        if crowded {
            self.lost_rows += gone.len() as u64;
        }
        for id in gone {
            if let Some(tracked) = self.tracked.remove(&id) {
                closed.push(self.close(tracked));
            }
        }
        for id in held {
            if let Some(tracked) = self.tracked.get(&id) {
                let mut row = describe(&tracked.last, tracked.netns, tracked.direction);
                row.state = SocketState::Closed;
                row.payload = tracked.measured.map(|measured| measured.payload);
                row.owner = self.ledger.account(id).and_then(Account::owner);
                self.list(&mut row);
                open.push(row);
            }
        }
    }
}

/// Whether the kernel cleared the counters in between.
fn restarted(before: &TcpCounters, now: &TcpCounters) -> bool {
    now.bytes_received < before.bytes_received || now.bytes_acked < before.bytes_acked
}

pub(super) fn describe(socket: &DiagSocket, netns: Netns, direction: Option<Direction>) -> Socket {
    let info = socket.info.filter(|_| socket.state != SocketState::Listen);
    Socket {
        id: socket.id,
        netns: Some(netns),
        protocol: socket.protocol,
        local: socket.local,
        remote: socket.remote,
        state: socket.state,
        direction,
        uid: (!socket.is_remnant()).then_some(socket.uid),
        cgroup_id: socket.cgroup_id,
        owner: None,
        owner_name: None,
        shared: false,
        payload: None,
        wire: None,
        rtt: info.and_then(|info| info.rtt),
        retransmits: info.map(|info| info.total_retrans.into()),
        accuracy: Accuracy::LowerBound,
    }
}
