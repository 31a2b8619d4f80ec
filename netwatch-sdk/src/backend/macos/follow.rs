//! Which socket of one reading is which of the reading before.
//!
//! `nettop` gives sockets no identity that lasts, so they are told by their ends,
//! their process and their counters, which only grow: a row whose counters are
//! smaller is another socket with the same ends.

use std::{cmp::Reverse, collections::HashMap};

use super::sighting::{Bytes, Ends, Sighting};
use crate::reading::{Direction, Payload, Protocol, SocketId, SocketState};

/// All sockets that are open, as far as the readings show.
#[derive(Debug, Default)]
pub(super) struct Follower {
    made: u64,
    known: HashMap<Ends, Vec<Known>>,
    /// Whether the last list of all sockets had lines that could not be read;
    /// `None` before the first.
    hidden: Option<bool>,
}

/// A socket that was seen.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: SocketId,
    /// As last seen.
    pub(super) sighting: Sighting,
    /// The last figures it was seen with.
    pub(super) bytes: Option<Bytes>,
    /// Whether it moved bytes since it was seen before.
    pub(super) moved: bool,
    /// `true` when it may be older than the first list of all sockets.
    pub(super) may_be_older: bool,
    pub(super) direction: Option<Direction>,
    /// How many lists of all sockets it is missing from, since it was last seen.
    missing: u32,
    /// Whether it was last seen in a list of some processes.
    in_part: bool,
    seen_now: bool,
}

/// How complete a list of sockets is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Every socket of the host.
    All,
    /// Every one, but for some lines that could not be read.
    AllButSome,
    /// Those of some processes.
    Part,
}

/// What one list says of the sockets known before.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The sockets listed.
    pub(super) seen: Vec<Known>,
    /// The sockets that have ended.
    pub(super) ended: Vec<Known>,
}

impl Follower {
    /// A socket that lists with unreadable lines leave out is taken for ended after so many.
    const MISSING_AT_MOST: u32 = 3;

    pub(super) fn follow(&mut self, sightings: Vec<Sighting>, list: List) -> Followed {
        let listening: Vec<(Protocol, u16)> = sightings
            .iter()
            .filter(|sighting| sighting.state == Some(SocketState::Listen))
            .filter_map(|sighting| Some((sighting.ends.protocol, sighting.ends.local_port()?)))
            .collect();
        // What an unreadable line hid before may be readable now.
        let may_be_older = self.hidden.unwrap_or(true);
        match list {
            List::All => self.hidden = Some(false),
            List::AllButSome => self.hidden = Some(true),
            List::Part => {}
        }

        let mut seen = Vec::with_capacity(sightings.len());
        for sighting in self.see_by_process(sightings, &mut seen) {
            let known = match self.known_by_ends(&sighting) {
                Some(known) => known.see(sighting),
                None => {
                    let direction = direction(&sighting, may_be_older, &listening);
                    self.meet(sighting, may_be_older, direction)
                }
            };
            seen.push(known);
        }
        Followed {
            seen,
            ended: self.end(list),
        }
    }

    /// Sees those that a process of theirs is known to have, and returns the others.
    fn see_by_process(&mut self, sightings: Vec<Sighting>, seen: &mut Vec<Known>) -> Vec<Sighting> {
        let mut others = Vec::new();
        for sighting in sightings {
            let pids = &sighting.pids;
            let same = |known: &Known| known.sighting.pids.iter().any(|pid| pids.contains(pid));
            match self.best(&sighting, same) {
                Some(known) => seen.push(known.see(sighting)),
                None => others.push(sighting),
            }
        }
        others
    }

    /// One that was passed on to another process, or whose process could not be read.
    fn known_by_ends(&mut self, sighting: &Sighting) -> Option<&mut Known> {
        let passed = sighting.ends.is_unique();
        let nobody = sighting.pids.is_empty();
        self.best(sighting, |known| {
            passed || nobody || known.sighting.pids.is_empty()
        })
    }

    /// The one not yet seen that was seen last and whose counters are closest below.
    fn best(
        &mut self,
        sighting: &Sighting,
        matches: impl Fn(&Known) -> bool,
    ) -> Option<&mut Known> {
        self.known
            .get_mut(&sighting.ends)?
            .iter_mut()
            .filter(|known| {
                !known.seen_now && matches(known) && can_follow(known.bytes, sighting.bytes)
            })
            .max_by_key(|known| {
                let printed = known.bytes.map(|bytes| bytes.printed);
                (
                    Reverse(known.missing),
                    printed.map(|printed| (printed.rx_bytes, printed.tx_bytes)),
                )
            })
    }

    fn meet(
        &mut self,
        sighting: Sighting,
        may_be_older: bool,
        direction: Option<Direction>,
    ) -> Known {
        self.made += 1;
        let known = Known {
            id: SocketId(self.made),
            bytes: sighting.bytes,
            sighting,
            moved: !may_be_older,
            may_be_older,
            direction,
            missing: 0,
            in_part: false,
            seen_now: true,
        };
        self.known
            .entry(known.sighting.ends.clone())
            .or_default()
            .push(known.clone());
        known
    }

    /// Forgets and returns those that have ended.
    fn end(&mut self, list: List) -> Vec<Known> {
        let mut ended = Vec::new();
        self.known.retain(|ends, group| {
            let replaced = ends.is_unique() && group.iter().any(|known| known.seen_now);
            group.retain_mut(|known| {
                if std::mem::take(&mut known.seen_now) {
                    known.in_part = list == List::Part;
                    return true;
                }
                let lives = match list {
                    _ if replaced => false,
                    List::All => false,
                    List::AllButSome => {
                        known.missing += 1;
                        known.missing < Self::MISSING_AT_MOST
                    }
                    // What is not in a part may be in the rest.
                    List::Part => !known.in_part,
                };
                if !lives {
                    ended.push(known.clone());
                }
                lives
            });
            !group.is_empty()
        });
        ended.sort_by_key(|known| known.id);
        ended
    }
}

impl Known {
    fn see(&mut self, sighting: Sighting) -> Self {
        let bytes = sighting.bytes.or(self.bytes);
        self.moved = bytes != self.bytes;
        self.bytes = bytes;
        if self.sighting.state == Some(SocketState::SynSent) {
            self.direction = Some(Direction::Outgoing);
        }
        self.sighting = sighting;
        self.missing = 0;
        self.seen_now = true;
        self.clone()
    }
}

fn can_follow(before: Option<Bytes>, now: Option<Bytes>) -> bool {
    let (Some(before), Some(now)) = (before, now) else {
        return true;
    };
    let at_least = |now: Payload, before: Payload| {
        now.rx_bytes >= before.rx_bytes && now.tx_bytes >= before.tx_bytes
    };
    at_least(now.printed, before.printed)
}

/// Known only of a socket that was made after the start, and of one that listens.
fn direction(
    sighting: &Sighting,
    may_be_older: bool,
    listening: &[(Protocol, u16)],
) -> Option<Direction> {
    if sighting.ends.protocol != Protocol::Tcp {
        return None;
    }
    match sighting.state {
        Some(SocketState::Listen) => Some(Direction::Listening),
        Some(SocketState::SynSent) => Some(Direction::Outgoing),
        Some(SocketState::SynReceived) => Some(Direction::Incoming),
        _ if may_be_older => None,
        _ => {
            let port = sighting.ends.local_port()?;
            listening
                .contains(&(Protocol::Tcp, port))
                .then_some(Direction::Incoming)
        }
    }
}
