//! The processes of a reading, for backends that see sockets and not calls.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::ledger::Ledger;
use crate::reading::{Accuracy, Attribution, Payload, Process, ProcessId, Protocol, Socket};

/// Processes that have exited keep their row; the oldest beyond these lose it.
const MOST_EXITED: usize = 4096;

/// Names, socket counts and accuracy of processes.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    names: HashMap<ProcessId, String>,
    /// Open sockets, this reading.
    sockets: BTreeMap<ProcessId, u32>,
    /// An open socket has less than all its bytes, this reading.
    behind: HashSet<ProcessId>,
    /// Bytes are missing for good.
    incomplete: HashSet<ProcessId>,
    /// A socket of theirs was an estimate.
    guessed: HashSet<ProcessId>,
    exited: VecDeque<ProcessId>,
}

impl Roster {
    /// A new reading begins.
    pub(crate) fn begin(&mut self) {
        self.sockets.clear();
        self.behind.clear();
    }

    /// What a process is called now.
    pub(crate) fn name(&mut self, process: ProcessId, name: &str) {
        let known = self.names.entry(process).or_default();
        if known != name {
            known.clear();
            known.push_str(name);
        }
    }

    /// An open socket: counts it for its owner and names that.
    pub(crate) fn saw(&mut self, row: &mut Socket) {
        let Some(owner) = row.owner else { return };
        *self.sockets.entry(owner).or_default() += 1;
        row.owner_name = self.names.get(&owner).cloned();
        match (row.payload, row.protocol) {
            (Some(_), _) if row.accuracy == Accuracy::Estimate => {
                self.guessed.insert(owner);
            }
            (None, Protocol::Udp) => {
                self.incomplete.insert(owner);
            }
            (Some(_), _) if row.accuracy != Accuracy::Exact => {
                self.behind.insert(owner);
            }
            _ => {}
        }
    }

    /// A process moved bytes that nobody counted.
    pub(crate) fn missed(&mut self, owner: ProcessId) {
        self.incomplete.insert(owner);
    }

    /// A closed socket: names its owner.
    pub(crate) fn saw_end(&mut self, row: &mut Socket) {
        let Some(owner) = row.owner else { return };
        row.owner_name = self.names.get(&owner).cloned();
        if row.payload.is_some() && row.accuracy != Accuracy::Exact {
            self.incomplete.insert(owner);
        }
    }

    /// The rows of a reading. `complete`: no byte is missing that could be anybody's.
    pub(crate) fn processes(
        &mut self,
        ledger: &mut Ledger,
        complete: bool,
        is_alive: impl Fn(ProcessId) -> bool,
    ) -> Vec<Process> {
        let mut totals: BTreeMap<Attribution, Payload> = ledger.totals().collect();
        for &process in self.sockets.keys() {
            totals.entry(Attribution::Process(process)).or_default();
        }
        let gone: HashSet<ProcessId> = self.exited.iter().copied().collect();
        let mut rows = Vec::with_capacity(totals.len());
        for (id, payload) in totals {
            let (name, sockets, alive, accuracy) = match id {
                Attribution::Process(process) => {
                    let alive = !gone.contains(&process) && is_alive(process);
                    if !alive && !gone.contains(&process) {
                        self.exited.push_back(process);
                    }
                    let name = self.names.get(&process).cloned().unwrap_or_default();
                    let sockets = self.sockets.get(&process).copied().unwrap_or_default();
                    (
                        name,
                        sockets,
                        alive,
                        self.accuracy(process, ledger, complete),
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
            self.names.remove(&process);
            self.incomplete.remove(&process);
            self.guessed.remove(&process);
        }
        rows
    }

    fn accuracy(&self, process: ProcessId, ledger: &Ledger, complete: bool) -> Accuracy {
        if ledger.is_guess(process) || self.guessed.contains(&process) {
            Accuracy::Estimate
        } else if complete && !self.incomplete.contains(&process) && !self.behind.contains(&process)
        {
            Accuracy::Exact
        } else {
            Accuracy::LowerBound
        }
    }
}
