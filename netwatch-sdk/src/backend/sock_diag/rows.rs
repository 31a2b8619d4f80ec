//! The rows of sockets: open ones, those whose end was heard of, those that vanished.

use std::{collections::HashMap, mem};

use super::{
    SockDiag, closing::Surroundings, listing::Listed, message::DiagSocket, namespace::Place,
};
use crate::{
    backend::{
        id_hash::IdSet,
        ledger::Holder,
        tcp_counters::{Fin, Measured, TcpCounters},
    },
    reading::{Accuracy, Direction, Netns, ProcessId, Protocol, Socket, SocketId, SocketState},
};

/// A dump can miss a socket while others come and go.
const MISSING_READINGS: u64 = 2;
/// Sockets that vanished and whose end was not heard of.
const MOST_VANISHED: usize = 65_536;

/// A socket of this host. Before Linux 5.3 cookies are unique in their namespace only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Inode of its network namespace.
    pub(super) netns: u32,
    pub(super) id: SocketId,
}

/// A socket that was there at the last reading.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) last: DiagSocket,
    netns: Netns,
    measured: Option<Measured>,
    direction: Option<Direction>,
    owner: Option<ProcessId>,
    shared: bool,
    /// The reading in which it was last in the list.
    pub(super) seen: u64,
    /// The reading in which it was last counted.
    counted: u64,
    /// Overruns when it was last there.
    pub(super) overruns: u64,
    /// Readings in which it was there and nobody held it.
    unheld: u32,
}

impl Tracked {
    /// Whether this reading finds out nothing more about it, if the kernel describes it as
    /// in the previous one and its holders are the same.
    pub(super) fn is_settled(&self, reading: u64) -> bool {
        let undirected = self.direction.is_none()
            && self.last.protocol == Protocol::Tcp
            && self.last.remote.is_some();
        self.seen + 1 == reading && self.unheld != 1 && !undirected
    }

    /// Whether its holder was looked for and not found.
    pub(super) const fn was_looked_for(&self, inode: u64) -> bool {
        self.unheld > 0 && self.last.inode == inode
    }

    fn row(&self) -> Socket {
        Socket {
            owner: self.owner,
            shared: self.shared,
            payload: self.measured.map(|it| it.payload),
            accuracy: self.measured.map_or(Accuracy::LowerBound, |it| it.accuracy),
            ..describe(&self.last, self.netns, self.direction)
        }
    }

    /// The row of a socket that is in no list any more: what it moved since is missing.
    fn last_row(&self) -> Socket {
        let mut row = self.row();
        row.state = SocketState::Closed;
        if row.accuracy == Accuracy::Exact {
            row.accuracy = Accuracy::LowerBound;
        }
        row
    }
}

impl SockDiag {
    /// Counts what one namespace lists and what was heard of those that closed.
    pub(super) fn count(&mut self, mut listed: Listed, closed: &mut Vec<Socket>) -> Vec<Socket> {
        let place = listed.place;
        let netns = place.netns.inode;
        // Closed after they were listed: the end is later than the list.
        let ended: IdSet<SocketId> = listed.ends.iter().map(|end| end.id).collect();
        let mut over = Vec::new();
        for socket in mem::take(&mut listed.changed) {
            if ended.contains(&socket.id) {
                over.push(socket);
            } else {
                self.open(socket, &listed);
            }
        }
        listed.changed = over;
        let mut near = mem::take(&mut listed.near);
        if !listed.ends.is_empty() {
            near.look_around(self.there(&listed));
            near.look_around(listed.remnants.iter().chain(&listed.ends));
            for (&(inode, ends), &(sent, _)) in &self.recent {
                if inode == netns {
                    near.remember(ends, sent);
                }
            }
        }
        for end in &listed.ends {
            closed.extend(self.heard_end(end, place.netns, &near));
            if let Some(sent) = end.counters().and_then(|counters| counters.sent)
                && let Some(ends) = end.ends()
            {
                self.recent.insert((netns, ends), (sent.once, self.reading));
            }
        }
        let remnants = listed.remnants.iter();
        remnants.map(|it| describe(it, place.netns, None)).collect()
    }

    /// Counts one open socket.
    fn open(&mut self, mut now: DiagSocket, listed: &Listed) {
        let Place {
            netns,
            since,
            found,
        } = listed.place;
        let key = Key {
            netns: netns.inode,
            id: now.id,
        };
        let known = self.tracked.get(&key);
        if known.is_some_and(|known| known.counted == self.reading) {
            return;
        }
        // It lets go of the socket at the end.
        now.has_ulp |= known.is_some_and(|known| known.last.has_ulp);
        let counters = now.counters();
        let before = known.and_then(|known| known.last.counters());
        let direction = match now.state {
            SocketState::Listen => Some(Direction::Listening),
            _ => known
                .and_then(|known| known.direction)
                .or_else(|| counters.and_then(|it| it.direction()))
                .or_else(|| listed.near.direction(&now)),
        };
        if let (Some(before), Some(counters)) = (before, counters)
            && restarted(&before, &counters)
        {
            self.ledger.restart(key);
        }
        let measured = counters.map(|it| {
            let measured = it.measure(Fin::Unknown, direction);
            measured.below_ulp(now.has_ulp)
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
        let (owner, shared) = match (measured, holder) {
            (Some(measured), _) => {
                let account = self.ledger.record(key, measured.payload, since, holder);
                (account.owner(), account.shared())
            }
            (None, Holder::Processes(holders)) => (holders.first().copied(), holders.len() > 1),
            (None, _) => (None, false),
        };
        if let Some(owner) = owner
            && found.is_some_and(|found| owner.started.is_none_or(|started| started < found))
        {
            self.roster.missed(owner);
        }
        let tracked = Tracked {
            last: now,
            netns,
            measured,
            direction,
            owner,
            shared,
            seen: self.reading,
            counted: self.reading,
            overruns: listed.overruns,
            unheld,
        };
        self.tracked.insert(key, tracked);
    }

    /// Counts one socket whose end was heard of. `None` for one that never was of interest.
    pub(super) fn heard_end(
        &mut self,
        end: &DiagSocket,
        netns: Netns,
        near: &Surroundings,
    ) -> Option<Socket> {
        let key = Key {
            netns: netns.inode,
            id: end.id,
        };
        let known = self.tracked.swap_remove(&key);
        let Some(counters) = end.counters() else {
            let Some(known) = known else {
                self.unseen_udp |= end.protocol == Protocol::Udp;
                return None;
            };
            return Some(self.close(&known));
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
            return known.map(|known| self.close(&known));
        }
        let direction = known
            .as_ref()
            .and_then(|known| known.direction)
            .or_else(|| near.direction(end));
        let fin = near.fin(end, &counters, before.as_ref(), direction);
        let has_ulp = known.as_ref().is_some_and(|known| known.last.has_ulp);
        let measured = counters.measure(fin, direction).below_ulp(has_ulp);
        let account = self.ledger.close(key, Some(measured.payload));
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
    fn close(&mut self, known: &Tracked) -> Socket {
        let mut row = known.last_row();
        if known.measured.is_some() {
            let key = Key {
                netns: known.netns.inode,
                id: known.last.id,
            };
            let account = self.ledger.close(key, None);
            row.owner = account.owner();
            row.shared = account.shared();
        }
        self.roster.saw_end(&mut row);
        row
    }

    /// The rows of sockets that are open. Gives up those that vanished and whose end will not
    /// be heard of, and lists those that a process still holds.
    pub(super) fn rows(&mut self, open: &mut Vec<Socket>, closed: &mut Vec<Socket>) {
        open.reserve(self.tracked.len());
        let mut vanished = Vec::new();
        for (&key, tracked) in &self.tracked {
            if tracked.seen == self.reading {
                let mut row = tracked.row();
                self.roster.saw(&mut row, |owner| self.owners.name(owner));
                open.push(row);
            } else {
                vanished.push(key);
            }
        }
        let crowded = vanished.len() > MOST_VANISHED;
        let hears: HashMap<u32, bool> = self
            .namespaces
            .iter()
            .map(|namespace| (namespace.netns.inode, namespace.closings.is_ok()))
            .collect();
        for key in vanished {
            let Some(tracked) = self.tracked.get(&key) else {
                continue;
            };
            let missing = self.reading - tracked.seen;
            let heard_of = hears.get(&key.netns).is_some_and(|&hears| hears)
                && tracked.overruns == self.overruns;
            if crowded || (!heard_of && missing >= MISSING_READINGS) {
                self.lost_rows += u64::from(crowded);
                let tracked = self.tracked.swap_remove(&key);
                closed.extend(tracked.map(|tracked| self.close(&tracked)));
            } else if !self.owners.of(tracked.last.inode).is_empty() {
                let mut row = tracked.last_row();
                row.shared = false;
                self.roster.saw(&mut row, |owner| self.owners.name(owner));
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
