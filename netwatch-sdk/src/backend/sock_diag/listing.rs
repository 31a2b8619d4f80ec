//! What is open, and what has closed, in one network namespace.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    SockDiag,
    closing::{Ends, Surroundings},
    message::DiagSocket,
    namespace::Place,
    netlink::Batch,
    rows::Key,
};
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
    pub(super) index: usize,
    pub(super) place: Place,
    /// Those that are not as they were in the previous list.
    pub(super) changed: Vec<DiagSocket>,
    /// What is left of sockets that closed.
    pub(super) remnants: Vec<DiagSocket>,
    /// What was heard of those that closed.
    pub(super) ends: Vec<DiagSocket>,
    /// What listens.
    pub(super) near: Surroundings,
    /// Overruns when the list was begun.
    pub(super) overruns: u64,
}

impl SockDiag {
    /// What is open and what has closed in one namespace.
    pub(super) fn list_namespace(&mut self, index: usize) -> Result<Option<Listed>> {
        // What closes after this is in the list, or heard of later.
        let ends = self.drain(index).sockets;
        let (reading, overruns) = (self.reading, self.overruns);
        let Some(namespace) = self.namespaces.get_mut(index) else {
            return Ok(None);
        };
        let place = namespace.place();
        let netns = place.netns.inode;
        let mut listed = Listed {
            index,
            place,
            changed: Vec::new(),
            remnants: Vec::new(),
            ends,
            near: Surroundings::default(),
            overruns,
        };
        let (tracked, unreadable) = (&mut self.tracked, &mut self.unreadable);
        let mut next = 0;
        let list = namespace.lister.list(|socket| {
            let Some(socket) = socket else {
                *unreadable += 1;
                return;
            };
            if socket.is_remnant() {
                return listed.remnants.push(socket);
            }
            listed.near.listens(&socket);
            let id = socket.id;
            let key = Key { netns, id };
            // Mostly behind the one before, which spares a look into memory far away.
            let place = match tracked.get_index(next) {
                Some((known, _)) if *known == key => Some(next),
                _ => tracked.get_index_of(&key),
            };
            if let Some((place, (_, known))) =
                place.and_then(|place| Some((place, tracked.get_index_mut(place)?)))
            {
                next = place + 1;
                if known.seen == reading {
                    // The kernel lists a socket twice that moves in its table meanwhile.
                    return;
                }
                let is_as_before = known.is_settled(reading) && known.last == socket;
                known.seen = reading;
                known.overruns = overruns;
                if is_as_before {
                    return;
                }
            }
            listed.changed.push(socket);
        });
        match list {
            Ok(()) => {}
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                self.namespaces.refuse(error);
                return Ok(None);
            }
        }
        if place.since == Since::Now {
            // What has closed by now moved its bytes before the start.
            let ended: IdSet<SocketId> = listed
                .ends
                .drain(..)
                .chain(self.drain(index).sockets)
                .map(|end| end.id)
                .collect();
            listed.changed.retain(|socket| !ended.contains(&socket.id));
        }
        Ok(Some(listed))
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
    pub(super) fn drain_late(&mut self, listed: &mut Listed) {
        let netns = listed.place.netns.inode;
        let late = self
            .tracked
            .iter()
            .filter(|(key, tracked)| key.netns == netns && tracked.seen + 1 == self.reading);
        let mut late: IdSet<SocketId> = late.map(|(key, _)| key.id).collect();
        for end in &listed.ends {
            late.remove(&end.id);
        }
        let mut late_ends = other_ends(&listed.ends);
        if late.is_empty() && late_ends.is_empty() {
            return;
        }
        let mut ends: HashSet<Ends> = self.there(listed).filter_map(DiagSocket::ends).collect();
        ends.extend(listed.ends.iter().filter_map(DiagSocket::ends));
        late_ends.retain(|it| !ends.contains(it) && !self.recent.contains_key(&(netns, *it)));
        let deadline = Instant::now() + LATE_CLOSING;
        while !late.is_empty() || !late_ends.is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.namespaces.get_mut(listed.index).map(|it| &it.closings) {
                Some(Ok(closings)) if !rest.is_zero() => closings.wait(rest),
                _ => return,
            }
            let more = self.drain(listed.index).sockets;
            ends.extend(more.iter().filter_map(DiagSocket::ends));
            for socket in &more {
                late.remove(&socket.id);
            }
            late_ends.extend(other_ends(&more));
            late_ends.retain(|it| !ends.contains(it) && !self.recent.contains_key(&(netns, *it)));
            listed.ends.extend(more);
        }
    }

    /// The sockets in a list, as they are in it.
    pub(super) fn there<'a>(&'a self, listed: &'a Listed) -> impl Iterator<Item = &'a DiagSocket> {
        let netns = listed.place.netns.inode;
        let tracked = self.tracked.iter();
        let unchanged =
            tracked.filter(move |(key, it)| key.netns == netns && it.seen == self.reading);
        unchanged.map(|(_, it)| &it.last).chain(&listed.changed)
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
