//! Sockets by the kernel's socket diagnostics (netlink `sock_diag`).
//!
//! - **TCP**: payload from the kernel's own counters, see
//!   [`tcp_counters`](super::tcp_counters); round-trip time, its variation and
//!   minimum (4.6), retransmits. Sockets that close between two readings are heard of
//!   with their final counters.
//! - **UDP**: sockets and owners. The kernel keeps no byte counts: payload `None`.
//! - **Multipath TCP**: its subflows, as TCP sockets of the same owner. Bytes count as
//!   received when they leave the subflow, and each time multipath TCP sends them, so
//!   they are an estimate.
//! - **Kernel TLS**: its records with their headers, an estimate too. The kernel tells both
//!   from other sockets with `CAP_NET_ADMIN` only, before 6.15, and not when they end.
//! - A socket's payload is over its life; a process's is since the start.
//!
//! # What is exact
//!
//! A TCP socket's figures, at rest. While bytes move, those that arrive during
//! the reading may count although they were not taken out yet. A socket that
//! was closed by its own side may be one byte short, and is a lower bound, where
//! nothing tells whether a FIN is among its bytes ([`closing`]). A socket closed
//! by `SO_LINGER` 0 has its counters cleared by the kernel: what its last
//! reading showed is a lower bound. A connection that was made and reset by its peer
//! between two readings is not seen until its process closes it.
//!
//! A process's figures are exact while no bytes belong to somebody unknown, it held
//! no UDP socket, and no UDP socket came and went between two readings; a lower
//! bound otherwise, and while it is older than the reading that found its network
//! namespace; an estimate when it shared a socket. Who owned a socket that lived between
//! two readings is not known: its bytes are in the row of the unknown. A socket that was
//! passed on between two readings is all the new holder's; where no other socket appeared
//! meanwhile, who has it now is noticed within 5 seconds.
//!
//! # Privileges and cost
//!
//! None for the sockets of the own network namespace. `CAP_SYS_PTRACE` (root) for the
//! owners that run as other users, `CAP_SYS_ADMIN` for other namespaces,
//! `CAP_NET_ADMIN` for a large event buffer. A namespace takes one dump of TCP and two of
//! UDP, about a microsecond a socket, nearly all of it in the kernel: a socket that the
//! kernel describes as it did before is compared and not counted anew. No child process.
//! Linux 4.19 for sent bytes that were not acknowledged yet; 4.1 for bytes at all.

mod closing;
mod listing;
pub(crate) mod message;
mod namespace;
pub(crate) mod netlink;
mod rows;
mod tcp_info;

use std::{collections::HashMap, path::PathBuf, time::Instant};

use chrono::Utc;

use self::{
    closing::Ends,
    listing::Listed,
    message::DiagSocket,
    namespace::Namespaces,
    rows::{Key, Tracked},
};
use super::{
    Measure,
    id_hash::{IdIndexMap, IdSet},
    ledger::{Ledger, Since},
    roster::Roster,
};
use crate::{
    Result,
    collector::{Packets, Status},
    error::chain,
    platform::owners::Owners,
    reading::{Attribution, Lost, Payload, Reading, SocketId, Source},
};

/// The two ends of a connection close one after the other.
const RECENT_READINGS: u64 = 2;

/// Reads sockets by netlink.
#[derive(Debug)]
pub(crate) struct SockDiag {
    namespaces: Namespaces,
    owners: Owners,
    ledger: Ledger<Key>,
    roster: Roster,
    /// In the order of the kernel's list, as far as that stays the same.
    tracked: IdIndexMap<Key, Tracked>,
    /// What sockets sent that closed in the last readings, and in which.
    recent: HashMap<(u32, Ends), (u64, u64)>,
    /// Counts readings.
    reading: u64,
    unreadable: u64,
    /// Ends of sockets that the kernel had to drop: at least this many times one.
    overruns: u64,
    /// A UDP socket came and went unseen: its owner moved bytes that are in no figure.
    unseen_udp: bool,
    /// TCP sockets that no reading saw before the kernel cleared their counters.
    cleared: u64,
    lost_rows: u64,
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
            owners: Owners::new(&proc),
            namespaces: Namespaces::start(proc, all_namespaces)?,
            ledger: Ledger::default(),
            roster: Roster::default(),
            tracked: IdIndexMap::default(),
            recent: HashMap::new(),
            reading: 0,
            unreadable: 0,
            overruns: 0,
            unseen_udp: false,
            cleared: 0,
            lost_rows: 0,
        };
        this.read()?;
        Ok(this)
    }

    /// Why figures are less than exact, or sockets missing; empty when nothing is.
    pub(crate) fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        for namespace in self.namespaces.iter() {
            if let Err(error) = &namespace.closings {
                limits.push(format!(
                    "bytes between the last reading of a socket and its end are missing: {}",
                    chain(error)
                ));
            }
        }
        if let Some(error) = self.namespaces.udp_refused() {
            limits.push(format!("UDP sockets are not listed: {}", chain(error)));
        }
        if self.overruns > 0 {
            limits
                .push("more sockets closed between two readings than the kernel could keep".into());
        }
        if let Some(error) = self.namespaces.refused() {
            limits.push(format!("other network namespaces: {}", chain(error)));
        }
        match self.cleared {
            0 => {}
            sockets => limits.push(format!(
                "{sockets} TCP connections were aborted (SO_LINGER 0) between two readings: \
                 their bytes are in no figure"
            )),
        }
        match self.owners.unreadable() {
            0 => {}
            processes => limits.push(format!(
                "the sockets of {processes} processes of other users cannot be told \
                 (needs root or CAP_SYS_PTRACE; a security policy may forbid it even so)"
            )),
        }
        limits
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
            && self.cleared == 0
            && self.namespaces.udp_refused().is_none()
            && unknown == Payload::default()
            && waiting == Payload::default()
            && self
                .namespaces
                .iter()
                .all(|namespace| namespace.closings.is_ok())
    }

    /// Finds the holders of sockets that have appeared. What was known of other sockets'
    /// holders is brought up to date with them: they count as changed.
    fn look_for_owners(&mut self, listed: &mut [Listed]) -> Result<()> {
        let key = |listed: &Listed, socket: &DiagSocket| Key {
            netns: listed.place.netns.inode,
            id: socket.id,
        };
        let appeared = listed.iter().any(|it| {
            it.changed.iter().any(|socket| {
                let known = self.tracked.get(&key(it, socket));
                socket.inode != 0
                    && self.owners.of(socket.inode).is_empty()
                    && !known.is_some_and(|known| known.was_looked_for(socket.inode))
            })
        });
        let tracked = self.tracked.values().map(|it| &it.last);
        let changed = listed.iter().flat_map(|it| &it.changed);
        let inodes = tracked.chain(changed).map(|socket| socket.inode);
        let looked = self
            .owners
            .look(appeared, Instant::now(), || inodes.collect())?;
        if looked {
            for it in listed {
                let changed: IdSet<SocketId> = it.changed.iter().map(|it| it.id).collect();
                let others = self.there(it).filter(|it| !changed.contains(&it.id));
                let others: Vec<DiagSocket> = others.cloned().collect();
                it.changed.extend(others);
            }
        }
        Ok(())
    }
}

impl Measure for SockDiag {
    fn read(&mut self) -> Result<Reading> {
        self.reading += 1;
        self.namespaces.follow();
        self.roster.begin();

        let mut listed = Vec::new();
        for index in 0..self.namespaces.len() {
            listed.extend(self.list_namespace(index)?);
        }
        for namespace in &mut listed {
            // At the start everything is new.
            if namespace.place.since == Since::Birth {
                self.drain_late(namespace);
            }
        }
        self.look_for_owners(&mut listed)?;

        let mut open = Vec::new();
        let mut closed = Vec::new();
        for namespace in listed {
            open.extend(self.count(namespace, &mut closed));
        }
        let reading = self.reading;
        self.recent
            .retain(|_, (_, heard)| *heard + RECENT_READINGS > reading);
        self.rows(&mut open, &mut closed);

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

#[cfg(test)]
mod live;
