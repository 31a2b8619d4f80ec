//! What is open, and what has closed, in one network namespace.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{SockDiag, closing::Ends, message::DiagSocket, namespace::Place, netlink::Batch};
use crate::{
    Result,
    backend::{id_hash::IdSet, ledger::Since},
    reading::SocketId,
};

/// How long a reading waits for the end of a socket that has just vanished. The
/// kernel sends it from a work queue.
const LATE_CLOSING: Duration = Duration::from_millis(5);

/// The sockets of one namespace.
pub(super) struct Listed {
    pub(super) place: Place,
    pub(super) open: Vec<DiagSocket>,
    /// What was heard of those that closed.
    pub(super) ends: Vec<DiagSocket>,
}

impl SockDiag {
    /// What is open and what has closed in one namespace.
    pub(super) fn list_namespace(&mut self, index: usize) -> Result<Option<Listed>> {
        // What closes after this is in the list, or heard of later.
        let mut ends = self.drain(index).sockets;
        let Some(namespace) = self.namespaces.get_mut(index) else {
            return Ok(None);
        };
        let place = namespace.place();
        let Batch {
            sockets: mut open,
            unreadable,
        } = match namespace.lister.list() {
            Ok(batch) => batch,
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                self.namespaces.refuse(error);
                return Ok(None);
            }
        };
        self.unreadable += unreadable;
        if place.since == Since::Now {
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
        Ok(Some(Listed { place, open, ends }))
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
        let Some(namespace) = self.namespaces.get_mut(index) else {
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
            match self.namespaces.get_mut(index).map(|it| &it.closings) {
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
}

/// The other ends, within this host, of sockets that received something.
fn other_ends(sockets: &[DiagSocket]) -> HashSet<Ends> {
    let received = |it: &&DiagSocket| it.counters().is_some_and(|it| it.taken() > 0);
    let ends = sockets.iter().filter(received).filter_map(DiagSocket::ends);
    ends.filter(|(local, remote)| local.ip() == remote.ip())
        .map(|(local, remote)| (remote, local))
        .collect()
}
