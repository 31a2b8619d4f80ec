//! What the tools said, as a reading.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Instant,
};

use chrono::{DateTime, Utc};

use super::{
    commands::Answers,
    follow::{Followed, Follower, Known, List},
    processes::Processes,
    sighting::{self, Bytes},
};
use crate::{
    Result,
    backend::ledger::{Account, Holder, Ledger, Since},
    parse::{
        endpoint::Endpoint,
        nettop::{ProcessRow, Sample},
    },
    reading::{
        Accuracy, Attribution, Lost, Payload, Process, ProcessId, Protocol, Reading, Rtt, Socket,
        SocketId, SocketState, Source,
    },
};

const KERNEL: &str = "[kernel]";
const UNKNOWN: &str = "[unknown]";

/// What is kept from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct Join {
    sockets: Follower,
    processes: Processes,
    ledger: Ledger,
    /// Whose totals may be too high.
    estimates: HashSet<Attribution>,
    remainders: Remainders,
    unreadable: u64,
}

impl Join {
    /// # Errors
    ///
    /// When neither `nettop` nor `lsof` gave a list.
    pub(super) fn reading(
        &mut self,
        answers: Answers,
        taken_at: Instant,
        timestamp: DateTime<Utc>,
    ) -> Result<Reading> {
        let Answers { nettop, lsof, ps } = answers;
        let lsof = match (lsof, &nettop) {
            (Ok(lsof), _) => Some(lsof),
            (Err(_), Some(Ok(_))) => {
                self.unreadable += 1;
                None
            }
            (Err(error), Some(Err(refusal))) => {
                let refusal = crate::error::chain(refusal);
                return Err(error.because(refusal));
            }
            (Err(error), None) => return Err(error),
        };
        self.unreadable += u64::from(matches!(nettop, Some(Err(_))));
        self.unreadable += u64::from(ps.is_err());
        let (nettop, ps) = (nettop.and_then(Result::ok), ps.ok());
        let lines = |unreadable: Option<u64>| unreadable.unwrap_or(0);
        self.unreadable += lines(nettop.as_ref().map(|nettop| nettop.unreadable))
            + lines(lsof.as_ref().map(|lsof| lsof.unreadable))
            + lines(ps.as_ref().map(|ps| ps.unreadable));

        let sample = nettop.as_ref().and_then(sighting::last_sample);
        for gone in self.processes.update(sample, lsof.as_ref(), ps.as_ref()) {
            self.forget(gone);
        }
        let (sightings, list) = match (sample, &lsof) {
            (Some(sample), lsof) => (
                sighting::from_nettop(sample, lsof.as_ref()),
                match sample.lost_rows {
                    0 => List::All,
                    _ => List::AllButSome,
                },
            ),
            (None, Some(lsof)) => (sighting::from_lsof(lsof), List::Part),
            (None, None) => (Vec::new(), List::Part),
        };
        let followed = self.sockets.follow(sightings, list);
        let seen: Vec<(Account, Known)> = followed
            .seen
            .iter()
            .map(|known| (self.count(known), known.clone()))
            .collect();
        if let Some(sample) = sample.filter(|_| list == List::All) {
            self.count_remainders(sample, &followed);
        }

        let open: Vec<Socket> = seen
            .iter()
            .map(|(account, known)| Socket {
                // Figures from before are none of this reading.
                payload: known
                    .bytes
                    .filter(|_| sample.is_some())
                    .map(|bytes| bytes.payload),
                ..self.socket(known, account)
            })
            .collect();
        let closed = followed
            .ended
            .iter()
            .map(|known| self.close(known))
            .collect();
        let unknown = self.ledger.total(Attribution::Unknown);
        Ok(Reading {
            taken_at,
            timestamp,
            source: if sample.is_some() {
                Source::Nettop
            } else {
                Source::Lsof
            },
            processes: self.process_rows(&open),
            open,
            closed,
            lost: Lost {
                unattributed_rx_bytes: unknown.rx_bytes,
                unattributed_tx_bytes: unknown.tx_bytes,
                unreadable: self.unreadable,
                ..Lost::default()
            },
        })
    }

    fn close(&mut self, known: &Known) -> Socket {
        let account = match known.bytes {
            Some(_) => self.ledger.close(known.id, None),
            None => Account::default(),
        };
        let socket = Socket {
            state: SocketState::Closed,
            ..self.socket(known, &account)
        };
        if let Some(owner) = account
            .owner()
            .filter(|&owner| !self.processes.knows(owner))
        {
            // Its last row was given before.
            self.ledger.retire(owner);
        }
        socket
    }

    fn forget(&mut self, process: ProcessId) {
        let whose = Attribution::Process(process);
        if let Some(id) = self.remainders.ids.remove(&whose) {
            self.ledger.close(id, None);
        }
        self.ledger.retire(process);
        self.estimates.remove(&whose);
    }

    /// Credits what a listed socket moved since its last figures.
    fn count(&mut self, known: &Known) -> Account {
        let holders: Vec<ProcessId> = known
            .sighting
            .pids
            .iter()
            .filter(|&&pid| pid != 0)
            .map(|&pid| self.processes.id(pid))
            .collect();
        let holder = match known.sighting.pids.as_slice() {
            [] => Holder::Unknown,
            [0, ..] => Holder::Kernel,
            _ => Holder::Processes(&holders),
        };
        let Some(bytes) = known.bytes else {
            // Nothing counted, and nothing to count from when there are figures.
            return self.ledger.account(known.id).copied().unwrap_or_default();
        };
        let since = if known.may_be_older {
            Since::Now
        } else {
            Since::Birth
        };
        let account = self.ledger.record(known.id, bytes.payload, since, holder);
        if bytes.estimate && known.moved {
            self.estimates.insert(match (holder, account.owner()) {
                (_, Some(owner)) => Attribution::Process(owner),
                (Holder::Kernel, None) => Attribution::Kernel,
                _ => Attribution::Unknown,
            });
        }
        account
    }

    /// Credits what `nettop` counted for a process and shows in no row of its own:
    /// bytes of sockets that ended while it ran.
    ///
    /// Such a socket can be listed for some time with no figures, and its bytes
    /// are then in every run. So what counts is only what goes above all runs so
    /// far, and above what the socket's own rows have shown.
    fn count_remainders(&mut self, sample: &Sample, followed: &Followed) {
        let mut shown: HashMap<u32, Payload> = HashMap::new();
        let mut show = |pid: Option<u32>, bytes: Option<Bytes>| {
            if let (Some(pid), Some(bytes)) = (pid, bytes) {
                add(shown.entry(pid).or_default(), bytes.printed);
            }
        };
        for flow in followed.seen.iter().chain(&followed.ended) {
            show(flow.sighting.pids.first().copied(), flow.bytes);
        }
        for ProcessRow { pid, counters, .. } in &sample.processes {
            let Some(sum) = counters else { continue };
            let shown = shown.get(pid).copied().unwrap_or_default();
            let remainder = Payload {
                rx_bytes: sum.rx_bytes.saturating_sub(shown.rx_bytes),
                tx_bytes: sum.tx_bytes.saturating_sub(shown.tx_bytes),
            };
            let whose = self.processes.attribution(*pid);
            let since = if self.remainders.began {
                Since::Birth
            } else {
                Since::Now
            };
            let id = self.remainders.id(whose);
            let before = self.ledger.total(whose);
            match whose {
                Attribution::Process(process) => {
                    let holders = [process];
                    let holder = Holder::Processes(&holders);
                    self.ledger.record(id, remainder, since, holder);
                }
                _ => {
                    self.ledger.record(id, remainder, since, Holder::Kernel);
                }
            }
            if self.ledger.total(whose) != before {
                // With duplicates and retransmissions, which have no row to be taken from.
                self.estimates.insert(whose);
            }
        }
        self.remainders.began = true;
    }

    fn socket(&self, known: &Known, account: &Account) -> Socket {
        let sighting = &known.sighting;
        let first = sighting.pids.first().copied();
        let owner = account.owner().or_else(|| {
            first
                .filter(|&pid| pid != 0)
                .map(|pid| self.processes.id(pid))
        });
        let name = owner
            .or_else(|| first.map(|pid| self.processes.id(pid)))
            .and_then(|id| self.processes.name(id));
        let remote = sighting.remote.as_ref().and_then(Endpoint::remote);
        let protocol = sighting.ends.protocol;
        Socket {
            id: known.id,
            netns: None,
            protocol,
            local: sighting.local.local(sighting.ipv6),
            remote,
            state: sighting.state.unwrap_or(match protocol {
                Protocol::Tcp => SocketState::Other(0),
                _ if remote.is_some() => SocketState::Established,
                _ => SocketState::Closed,
            }),
            direction: known.direction,
            uid: owner.and_then(|owner| self.processes.uid(owner)),
            cgroup_id: None,
            owner,
            owner_name: name.map(str::to_owned),
            shared: account.shared() || sighting.pids.len() > 1,
            payload: known.bytes.map(|bytes| bytes.payload),
            wire: None,
            rtt: sighting.rtt.map(|smoothed| Rtt {
                smoothed,
                variation: None,
                minimum: None,
            }),
            retransmits: None,
            accuracy: match known.bytes {
                Some(bytes) if bytes.estimate => Accuracy::Estimate,
                _ => Accuracy::LowerBound,
            },
        }
    }

    fn process_rows(&self, open: &[Socket]) -> Vec<Process> {
        let mut sockets: BTreeMap<ProcessId, u32> = BTreeMap::new();
        for owner in open.iter().filter_map(|socket| socket.owner) {
            *sockets.entry(owner).or_default() += 1;
        }
        let owners = sockets.keys().copied().map(Attribution::Process);
        let listed = self.processes.ids().map(Attribution::Process);
        let buckets = [Attribution::Kernel, Attribution::Unknown];
        let credited = self.ledger.totals().map(|(whose, _)| whose);
        let credited = credited.filter(|whose| buckets.contains(whose));
        let all: BTreeSet<Attribution> = owners.chain(listed).chain(credited).collect();
        all.into_iter()
            .map(|id| {
                let guess = match id {
                    Attribution::Process(process) => self.ledger.is_guess(process),
                    _ => false,
                };
                let accuracy = if guess || self.estimates.contains(&id) {
                    Accuracy::Estimate
                } else {
                    Accuracy::LowerBound
                };
                let (name, count, alive) = match id {
                    Attribution::Process(process) => (
                        self.processes.name(process).unwrap_or_default(),
                        sockets.get(&process).copied().unwrap_or(0),
                        !self.processes.has_ended(process),
                    ),
                    Attribution::Kernel => (KERNEL, 0, true),
                    Attribution::Unknown | Attribution::Unattributed => (UNKNOWN, 0, true),
                };
                Process {
                    id,
                    name: name.to_owned(),
                    payload: self.ledger.total(id),
                    wire: None,
                    sockets: count,
                    cgroup_id: None,
                    cgroup: None,
                    accuracy,
                    alive,
                }
            })
            .collect()
    }
}

/// The accounts of what a process's own sum holds and its sockets' rows do not.
#[derive(Debug, Default)]
struct Remainders {
    ids: HashMap<Attribution, SocketId>,
    made: u64,
    began: bool,
}

impl Remainders {
    /// Counted down from the top, away from the numbers of sockets.
    fn id(&mut self, whose: Attribution) -> SocketId {
        *self.ids.entry(whose).or_insert_with(|| {
            self.made += 1;
            SocketId(u64::MAX - self.made)
        })
    }
}

const fn add(to: &mut Payload, more: Payload) {
    to.rx_bytes = to.rx_bytes.saturating_add(more.rx_bytes);
    to.tx_bytes = to.tx_bytes.saturating_add(more.tx_bytes);
}
