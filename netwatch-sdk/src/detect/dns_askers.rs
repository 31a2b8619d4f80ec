//! Which processes ask DNS servers.

use serde::Serialize;

use super::{bounded::Bounded, event::Actor, text::clean};
use crate::reading::Pid;

/// Processes followed at once, about 200 bytes each. The one that asked or was
/// answered longest ago makes room.
pub(crate) const ASKERS: usize = 1_024;
/// Longest process name kept.
const NAME_BYTES: usize = 64;
const NXDOMAIN: u8 = 3;

/// What one process asked DNS servers, since the detectors started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DnsAsker {
    /// Its pid.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// Queries.
    pub queries: u64,
    /// Queries it passed on for others of this host, which are counted as theirs.
    pub forwarded: u64,
    /// Responses to `queries`.
    pub responses: u64,
    /// Those of them with code NXDOMAIN.
    pub nxdomain: u64,
}

#[derive(Debug)]
pub(crate) struct DnsAskers {
    processes: Bounded<(Pid, String), DnsAsker>,
}

impl DnsAskers {
    pub(crate) fn new() -> Self {
        Self {
            processes: Bounded::new(ASKERS),
        }
    }

    pub(crate) fn query(&mut self, actor: Option<Actor<'_>>) {
        self.add(actor, |asker| asker.queries += 1);
    }

    pub(crate) fn forwarded(&mut self, actor: Option<Actor<'_>>) {
        self.add(actor, |asker| asker.forwarded += 1);
    }

    pub(crate) fn response(&mut self, actor: Option<Actor<'_>>, rcode: u8) {
        self.add(actor, |asker| {
            asker.responses += 1;
            asker.nxdomain += u64::from(rcode == NXDOMAIN);
        });
    }

    fn add(&mut self, actor: Option<Actor<'_>>, change: impl FnOnce(&mut DnsAsker)) {
        let Some(Actor { pid, name }) = actor else {
            return;
        };
        let name = clean(name, NAME_BYTES);
        change(self.processes.touch((pid, name.clone()), || DnsAsker {
            pid,
            name,
            queries: 0,
            forwarded: 0,
            responses: 0,
            nxdomain: 0,
        }));
    }

    /// Everyone, who asked most first.
    pub(crate) fn all(&self) -> Vec<DnsAsker> {
        let mut all: Vec<_> = self.processes.values().cloned().collect();
        all.sort_by_key(|asker| {
            (
                std::cmp::Reverse((asker.queries, asker.forwarded)),
                asker.pid,
            )
        });
        all
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.processes.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_most_comes_first_and_a_flood_of_processes_is_bounded() {
        let mut askers = DnsAskers::new();
        for pid in 0..2 * ASKERS as u32 {
            askers.query(Some(Actor {
                pid: Pid(pid),
                name: "sh",
            }));
        }
        let actor = Some(Actor {
            pid: Pid(7),
            name: "curl",
        });
        for rcode in [0, 3] {
            askers.query(actor);
            askers.response(actor, rcode);
        }
        askers.forwarded(actor);
        askers.query(None);
        assert_eq!(askers.evicted(), ASKERS as u64 + 1);
        let all = askers.all();
        assert_eq!(all.len(), ASKERS);
        let first = DnsAsker {
            pid: Pid(7),
            name: "curl".into(),
            queries: 2,
            forwarded: 1,
            responses: 2,
            nxdomain: 1,
        };
        assert_eq!(all[0], first);
    }
}
