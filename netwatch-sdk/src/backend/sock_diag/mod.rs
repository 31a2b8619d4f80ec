//! Sockets by the kernel's socket diagnostics (netlink `sock_diag`).
//!
//! - **TCP**: payload from the kernel's own counters, see
//!   [`tcp_counters`](super::tcp_counters); round-trip time, its variation and
//!   minimum (4.6), retransmits. Sockets that close between two readings are heard of
//!   with their final counters.
//! - **UDP**: sockets and owners. The kernel keeps no byte counts: payload `None`.
//! - **Multipath TCP**: its subflows, as TCP sockets of the same owner. Bytes count as
//!   received when they leave the subflow, and twice when they are sent on a second one.
//! - A socket's payload is over its life; a process's is since the start.
//!
//! # What is exact
//!
//! A TCP socket's figures, at rest. While bytes move, those that arrive during
//! the reading may count although they were not taken out yet. A socket that
//! was closed by its own side may be one byte short, and is a lower bound, where
//! nothing tells whether a FIN is among its bytes ([`closing`]). A socket closed
//! by `SO_LINGER` 0 has its counters cleared by the kernel: what its last
//! reading showed is a lower bound.
//!
//! A process's figures are exact while no bytes belong to somebody unknown, it held
//! no UDP socket, and no UDP socket came and went between two readings; a lower
//! bound otherwise; an estimate when it shared a socket. Who owned a socket that lived between two readings is not known: its
//! bytes are in the row of the unknown.
//!
//! # Privileges and cost
//!
//! None for the sockets of the own network namespace. `CAP_SYS_PTRACE` (root) for the
//! owners that run as other users, `CAP_SYS_ADMIN` for other namespaces,
//! `CAP_NET_ADMIN` for a large event buffer. One dump a
//! namespace, protocol and family, about a microsecond a socket; no child process.
//! Linux 4.19 for sent bytes that were not acknowledged yet; 4.1 for bytes at all.

mod closing;
mod message;
mod namespace;
mod netlink;
mod tcp_info;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::Utc;

use self::{
    closing::{Ends, Surroundings},
    message::DiagSocket,
    namespace::Namespace,
    netlink::Batch,
};
use super::{
    Measure,
    id_hash::{IdMap, IdSet},
    ledger::{Account, Holder, Ledger, Since},
    roster::Roster,
    tcp_counters::{Fin, Measured, TcpCounters},
};
use crate::{
    Error, Result,
    collector::{Packets, Status},
    error::chain,
    platform::owners::Owners,
    reading::{
        Accuracy, Attribution, Direction, Lost, Netns, Payload, Protocol, Reading, Socket,
        SocketId, SocketState, Source,
    },
};

/// How long a reading waits for the end of a socket that has just vanished. The
/// kernel sends it from a work queue.
const LATE_CLOSING: Duration = Duration::from_millis(5);
const LOOK_FOR_NAMESPACES: Duration = Duration::from_secs(5);
/// A dump can miss a socket while others come and go.
const MISSING_READINGS: u64 = 2;
/// The two ends of a connection close one after the other.
const RECENT_READINGS: u64 = 2;
/// Sockets that vanished and whose end was not heard of.
const MOST_VANISHED: usize = 65_536;

/// Reads sockets by netlink.
#[derive(Debug)]
pub(crate) struct SockDiag {
    namespaces: Vec<Namespace>,
    owners: Owners,
    ledger: Ledger,
    roster: Roster,
    tracked: IdMap<SocketId, Tracked>,
    /// What sockets sent that closed in the last readings, and in which.
    recent: HashMap<(u32, Ends), (u64, u64)>,
    proc: PathBuf,
    all_namespaces: bool,
    looked: Option<Instant>,
    /// Counts readings.
    reading: u64,
    /// Why other namespaces cannot be entered.
    refused: Option<Error>,
    unreadable: u64,
    /// Ends of sockets that the kernel had to drop: at least this many times one.
    overruns: u64,
    /// A UDP socket came and went unseen: its owner moved bytes that are in no figure.
    unseen_udp: bool,
    lost_rows: u64,
}

/// The sockets of one namespace.
struct Listed {
    netns: Netns,
    since: Since,
    open: Vec<DiagSocket>,
    /// What was heard of those that closed.
    ends: Vec<DiagSocket>,
}

/// A socket that was there at the last reading.
#[derive(Debug)]
struct Tracked {
    last: DiagSocket,
    netns: Netns,
    measured: Option<Measured>,
    direction: Option<Direction>,
    /// The reading in which it was last there.
    seen: u64,
    /// Overruns when it was last there.
    overruns: u64,
    /// Readings in which it was there and nobody held it.
    unheld: u32,
}

impl SockDiag {
    /// Starts to count: what the sockets that are open now moved before does not.
    ///
    /// With `all_namespaces` every network namespace with a process in it is
    /// read, as far as permitted; otherwise that of the calling thread.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) on a kernel without
    /// `inet_diag`, [`Permission`](crate::ErrorKind::Permission) where netlink is refused.
    pub(crate) fn start(all_namespaces: bool) -> Result<Self> {
        let proc = PathBuf::from("/proc");
        let mut this = Self {
            namespaces: vec![Namespace::current()?],
            owners: Owners::new(&proc),
            ledger: Ledger::default(),
            roster: Roster::default(),
            tracked: IdMap::default(),
            recent: HashMap::new(),
            proc,
            all_namespaces,
            looked: None,
            reading: 0,
            refused: None,
            unreadable: 0,
            overruns: 0,
            unseen_udp: false,
            lost_rows: 0,
        };
        this.read()?;
        Ok(this)
    }

    /// Why figures are less than exact, or sockets missing; empty when nothing is.
    pub(crate) fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        for namespace in &self.namespaces {
            if let Err(error) = &namespace.closings {
                limits.push(format!(
                    "bytes between the last reading of a socket and its end are missing: {}",
                    chain(error)
                ));
            }
        }
        if self.overruns > 0 {
            limits
                .push("more sockets closed between two readings than the kernel could keep".into());
        }
        if let Some(error) = &self.refused {
            limits.push(format!("other network namespaces: {}", chain(error)));
        }
        match self.owners.unreadable() {
            0 => {}
            processes => limits.push(format!(
                "the sockets of {processes} processes of other users cannot be told \
                 (needs root or CAP_SYS_PTRACE)"
            )),
        }
        limits
    }

    fn follow_namespaces(&mut self) {
        let now = Instant::now();
        let due = self
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= LOOK_FOR_NAMESPACES);
        if self.all_namespaces && due {
            self.looked = Some(now);
            self.refused = namespace::follow(&mut self.namespaces, &self.proc).err();
        }
    }

    /// What is open and what has closed in one namespace.
    fn list_namespace(&mut self, index: usize) -> Result<Option<Listed>> {
        // What closes after this is in the list, or heard of later.
        let mut ends = self.drain(index).sockets;
        let Some(namespace) = self.namespaces.get_mut(index) else {
            return Ok(None);
        };
        let netns = namespace.netns;
        let fresh = std::mem::take(&mut namespace.fresh);
        let Batch {
            sockets: mut open,
            unreadable,
        } = match namespace.lister.list() {
            Ok(batch) => batch,
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                self.refused = Some(error);
                return Ok(None);
            }
        };
        self.unreadable += unreadable;
        if fresh {
            // What has closed by now moved its bytes before the start.
            let ended: IdSet<SocketId> = ends
                .drain(..)
                .chain(self.drain(index).sockets)
                .map(|end| end.id)
                .collect();
            open.retain(|socket| !ended.contains(&socket.id));
        } else {
            self.drain_late(index, &open, &mut ends);
        }
        Ok(Some(Listed {
            netns,
            since: if fresh { Since::Now } else { Since::Birth },
            open,
            ends,
        }))
    }

    /// Hears what has closed in one namespace.
    fn drain(&mut self, index: usize) -> Batch {
        let mut batch = Batch::default();
        if let Some(namespace) = self.namespaces.get_mut(index)
            && let Ok(closings) = &mut namespace.closings
        {
            match closings.drain(&mut batch) {
                Ok(dropped) => self.overruns += u64::from(dropped),
                Err(error) => namespace.closings = Err(error),
            }
        }
        self.unreadable += batch.unreadable;
        batch
    }

    /// Hears the ends that are on their way: those of sockets that are in no list
    /// any more, and those of the other ends of connections within this host.
    fn drain_late(&mut self, index: usize, open: &[DiagSocket], ended: &mut Vec<DiagSocket>) {
        let Some(namespace) = self.namespaces.get(index) else {
            return;
        };
        let inode = namespace.netns.inode;
        let open = || open.iter().filter(|socket| !socket.is_remnant());
        let mut there = IdSet::with_capacity_and_hasher(self.tracked.len(), Default::default());
        there.extend(open().chain(ended.iter()).map(|socket| socket.id));
        let mut late: IdSet<SocketId> = self
            .tracked
            .iter()
            .filter(|(id, tracked)| {
                tracked.seen + 1 == self.reading
                    && tracked.netns.inode == inode
                    && !there.contains(id)
            })
            .map(|(&id, _)| id)
            .collect();
        let mut late_ends = other_ends(ended);
        if late.is_empty() && late_ends.is_empty() {
            return;
        }
        let mut ends: HashSet<Ends> = open().filter_map(DiagSocket::ends).collect();
        ends.extend(ended.iter().filter_map(DiagSocket::ends));
        late_ends.retain(|it| !ends.contains(it) && !self.recent.contains_key(&(inode, *it)));
        let deadline = Instant::now() + LATE_CLOSING;
        while !late.is_empty() || !late_ends.is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.namespaces.get(index).map(|it| &it.closings) {
                Some(Ok(closings)) if !rest.is_zero() => closings.wait(rest),
                _ => return,
            }
            let more = self.drain(index).sockets;
            ends.extend(more.iter().filter_map(DiagSocket::ends));
            for socket in &more {
                late.remove(&socket.id);
            }
            late_ends.extend(other_ends(&more));
            late_ends.retain(|it| !ends.contains(it) && !self.recent.contains_key(&(inode, *it)));
            ended.extend(more);
        }
    }

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
    fn open(&mut self, now: DiagSocket, netns: Netns, since: Since, near: &Surroundings) -> Socket {
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
        let measured = counters.map(|it| it.measure(Fin::Unknown, direction));
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
    fn heard_end(&mut self, end: &DiagSocket, netns: Netns, near: &Surroundings) -> Option<Socket> {
        let known = self.tracked.remove(&end.id);
        let Some(counters) = end.counters() else {
            let Some(known) = known else {
                self.unseen_udp |= end.protocol == Protocol::Udp;
                return None;
            };
            return Some(self.close(known));
        };
        let before = known.as_ref().and_then(|known| known.last.counters());
        if known.is_none() && end.remote.is_none() {
            return None;
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
        let measured = counters.measure(fin, direction);
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
    fn settle_vanished(&mut self, open: &mut Vec<Socket>, closed: &mut Vec<Socket>) {
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

    fn lost(&self) -> Lost {
        let unknown = self.ledger.total(Attribution::Unknown);
        Lost {
            unattributed_rx_bytes: unknown.rx_bytes,
            unattributed_tx_bytes: unknown.tx_bytes,
            closed_rows: self.lost_rows,
            unreadable: self.unreadable + self.overruns + self.owners.unreadable(),
            ..Lost::default()
        }
    }

    /// Whether every byte of TCP reaches the row it belongs to.
    fn hears_everything(&self) -> bool {
        let unknown = self.ledger.total(Attribution::Unknown);
        let waiting = self.ledger.waiting();
        self.overruns == 0
            && !self.unseen_udp
            && unknown == Payload::default()
            && waiting == Payload::default()
            && self
                .namespaces
                .iter()
                .all(|namespace| namespace.closings.is_ok())
    }
}

impl Measure for SockDiag {
    fn read(&mut self) -> Result<Reading> {
        self.reading += 1;
        self.follow_namespaces();
        self.roster.begin();

        let mut listed = Vec::new();
        for index in 0..self.namespaces.len() {
            listed.extend(self.list_namespace(index)?);
        }
        let inodes = listed.iter().flat_map(|it| &it.open).map(|it| it.inode);
        let vanished = self.tracked.values().map(|it| it.last.inode);
        self.owners.refresh(inodes.chain(vanished))?;

        let mut open = Vec::new();
        let mut closed = Vec::new();
        for Listed {
            netns,
            since,
            open: sockets,
            ends,
        } in listed
        {
            let mut near = Surroundings::listening(&sockets);
            if !ends.is_empty() {
                near.look_around(sockets.iter().chain(&ends));
                for (&(inode, ends), &(sent, _)) in &self.recent {
                    if inode == netns.inode {
                        near.remember(ends, sent);
                    }
                }
            }
            // Closed after they were listed: the end is later than the list.
            let ended: IdSet<SocketId> = ends.iter().map(|end| end.id).collect();
            open.reserve(sockets.len());
            for socket in sockets {
                let twice = |it: &Tracked| it.seen == self.reading;
                if socket.is_remnant() {
                    open.push(describe(&socket, netns, None));
                } else if !ended.contains(&socket.id)
                    && !self.tracked.get(&socket.id).is_some_and(twice)
                {
                    open.push(self.open(socket, netns, since, &near));
                }
            }
            for end in ends {
                closed.extend(self.heard_end(&end, netns, &near));
                if let Some(sent) = end.counters().and_then(|counters| counters.sent)
                    && let Some(ends) = end.ends()
                {
                    let sent = (sent.once, self.reading);
                    self.recent.insert((netns.inode, ends), sent);
                }
            }
        }
        let reading = self.reading;
        self.recent
            .retain(|_, (_, heard)| *heard + RECENT_READINGS > reading);
        self.settle_vanished(&mut open, &mut closed);

        let complete = self.hears_everything();
        let owners = &self.owners;
        let processes = self
            .roster
            .processes(&mut self.ledger, complete, |process| {
                owners.name(process).is_some()
                    || owners
                        .identify(process.pid)
                        .is_some_and(|(now, _)| now == process)
            });
        Ok(Reading {
            taken_at: Instant::now(),
            timestamp: Utc::now(),
            source: Source::SockDiag,
            open,
            closed,
            processes,
            lost: self.lost(),
        })
    }

    fn status(&self) -> Status {
        Status {
            limits: self.limits(),
            packets: Packets::NotCounted("socket diagnostics know no packets".to_owned()),
            ..Status::of(Source::SockDiag)
        }
    }
}

/// Whether the kernel cleared the counters in between.
fn restarted(before: &TcpCounters, now: &TcpCounters) -> bool {
    now.bytes_received < before.bytes_received || now.bytes_acked < before.bytes_acked
}

/// The other ends, within this host, of sockets that received something.
fn other_ends(sockets: &[DiagSocket]) -> HashSet<Ends> {
    let received = |it: &&DiagSocket| it.counters().is_some_and(|it| it.taken() > 0);
    let ends = sockets.iter().filter(received).filter_map(DiagSocket::ends);
    ends.filter(|(local, remote)| local.ip() == remote.ip())
        .map(|(local, remote)| (remote, local))
        .collect()
}

fn describe(socket: &DiagSocket, netns: Netns, direction: Option<Direction>) -> Socket {
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

#[cfg(test)]
mod live;
