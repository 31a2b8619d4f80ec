//! The processes of a reading, for backends that see sockets and not calls.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::{id_hash::IdMap, ledger::Ledger};
use crate::reading::{Accuracy, Attribution, Payload, Process, ProcessId, Protocol, Socket};

/// Processes that have exited keep their row; the oldest beyond these lose it.
const MOST_EXITED: usize = 4096;

/// Names, socket counts and accuracy of processes.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: IdMap<ProcessId, Member>,
    exited: VecDeque<ProcessId>,
}

#[derive(Debug, Default)]
struct Member {
    /// `None` while nobody told.
    name: Option<String>,
    /// Open sockets, this reading.
    sockets: u32,
    /// An open socket has less than all its bytes, this reading.
    behind: bool,
    /// Bytes are missing for good.
    incomplete: bool,
    /// A socket of theirs was an estimate.
    guessed: bool,
}

impl Roster {
    /// A new reading begins.
    pub(crate) fn begin(&mut self) {
        for member in self.members.values_mut() {
            member.sockets = 0;
            member.behind = false;
        }
    }

    /// What a process is called now.
    pub(crate) fn name(&mut self, process: ProcessId, name: &str) {
        set(&mut self.members.entry(process).or_default().name, name);
    }

    /// An open socket: counts it for its owner and names that, as it is called now or,
    /// where `name` cannot tell, as it was called before.
    pub(crate) fn saw<'a>(
        &mut self,
        row: &mut Socket,
        name: impl FnOnce(ProcessId) -> Option<&'a str>,
    ) {
        let Some(owner) = row.owner else { return };
        let member = self.members.entry(owner).or_default();
        if member.sockets == 0
            && let Some(name) = name(owner)
        {
            set(&mut member.name, name);
        }
        member.sockets += 1;
        row.owner_name.clone_from(&member.name);
        match (row.payload, row.protocol) {
            (Some(_), _) if row.accuracy == Accuracy::Estimate => member.guessed = true,
            (None, Protocol::Udp) => member.incomplete = true,
            (Some(_), _) if row.accuracy != Accuracy::Exact => member.behind = true,
            _ => {}
        }
    }

    /// A process moved bytes that nobody counted.
    pub(crate) fn missed(&mut self, owner: ProcessId) {
        self.members.entry(owner).or_default().incomplete = true;
    }

    /// A closed socket: names its owner.
    pub(crate) fn saw_end(&mut self, row: &mut Socket) {
        let Some(owner) = row.owner else { return };
        let member = self.members.entry(owner).or_default();
        row.owner_name.clone_from(&member.name);
        member.incomplete |= row.payload.is_some() && row.accuracy != Accuracy::Exact;
    }

    /// The rows of a reading. `complete`: no byte is missing that could be anybody's.
    pub(crate) fn processes<K: Copy + Eq + std::hash::Hash>(
        &mut self,
        ledger: &mut Ledger<K>,
        complete: bool,
        is_alive: impl Fn(ProcessId) -> bool,
    ) -> Vec<Process> {
        let mut totals: BTreeMap<Attribution, Payload> = ledger.totals().collect();
        for (&process, _) in self.members.iter().filter(|(_, it)| it.sockets > 0) {
            totals.entry(Attribution::Process(process)).or_default();
        }
        // Processes that only share sockets of others have no row.
        let has_row = |process| totals.contains_key(&Attribution::Process(process));
        self.members.retain(|&process, _| has_row(process));
        ledger.retain_guesses(|process| has_row(process) || is_alive(process));
        let gone: HashSet<ProcessId> = self.exited.iter().copied().collect();
        let mut rows = Vec::with_capacity(totals.len());
        for (id, payload) in totals {
            let (name, sockets, alive, accuracy) = match id {
                Attribution::Process(process) => {
                    let alive = !gone.contains(&process) && is_alive(process);
                    if !alive && !gone.contains(&process) {
                        self.exited.push_back(process);
                    }
                    let nothing = Member::default();
                    let member = self.members.get(&process).unwrap_or(&nothing);
                    let accuracy = member.accuracy(ledger.is_guess(process), complete);
                    (
                        member.name.clone().unwrap_or_default(),
                        member.sockets,
                        alive,
                        accuracy,
                    )
                }
                Attribution::Kernel => ("[kernel]".into(), 0, true, Accuracy::LowerBound),
                Attribution::Unknown | Attribution::Unattributed => {
                    ("[unknown]".into(), 0, true, Accuracy::LowerBound)
                }
            };
            rows.push(Process {
                id,
                name,
                payload,
                wire: None,
                sockets,
                cgroup_id: None,
                cgroup: None,
                accuracy,
                alive,
            });
        }
        while self.exited.len() > MOST_EXITED
            && let Some(process) = self.exited.pop_front()
        {
            ledger.retire(process);
            self.members.remove(&process);
        }
        rows
    }
}

impl Member {
    const fn accuracy(&self, is_guess: bool, complete: bool) -> Accuracy {
        if is_guess || self.guessed {
            Accuracy::Estimate
        } else if complete && !self.incomplete && !self.behind {
            Accuracy::Exact
        } else {
            Accuracy::LowerBound
        }
    }
}

fn set(known: &mut Option<String>, name: &str) {
    if known.as_deref() != Some(name) {
        *known = Some(name.to_owned());
    }
}
