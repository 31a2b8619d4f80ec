//! Whom bytes belong to, for backends that see sockets and not calls.
//!
//! A backend reports every socket with its cumulative bytes and its holders; the
//! ledger credits what moved since the last report. Nothing is credited twice
//! and nothing is dropped: what was counted is what the rows hold, plus what
//! waits for an owner ([`Ledger::waiting`]).
//!
//! Rules:
//! - A socket made after the start counts from its first byte, an older one from
//!   its first report.
//! - Bytes are credited to the owner at the time of the report: the process that
//!   already had the socket, or else the oldest holder. With several holders who
//!   moved what cannot be seen, so all of them are marked
//!   ([`Ledger::is_guess`]).
//! - A socket keeps its last owner when nobody holds it any more: the kernel
//!   still sends what the owner left in the queue.
//! - Figures that go back count nothing until they pass where they were, unless
//!   the socket was started anew ([`Ledger::restart`]).

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
};

use super::id_hash::IdMap;
use crate::reading::{Attribution, Payload, ProcessId, SocketId};

/// What is known of every socket and every owner. A socket is told from others by a `K`.
#[derive(Debug)]
pub(crate) struct Ledger<K = SocketId> {
    accounts: IdMap<K, Account>,
    totals: BTreeMap<Attribution, Payload>,
    guesses: HashSet<ProcessId>,
    counted: Payload,
    waiting: Payload,
    retired: Payload,
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self {
            accounts: IdMap::default(),
            totals: BTreeMap::new(),
            guesses: HashSet::new(),
            counted: Payload::default(),
            waiting: Payload::default(),
            retired: Payload::default(),
        }
    }
}

/// From where a socket's bytes count when it is reported for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// It was made after the start.
    Birth,
    /// It may be older than the start.
    Now,
}

/// Who has a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder<'a> {
    /// These processes, the oldest first.
    Processes(&'a [ProcessId]),
    /// The kernel.
    Kernel,
    /// Somebody who cannot be seen.
    Unknown,
    /// Nobody yet or nobody any more.
    Nobody,
}

/// One socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Where the socket's figures were when they were last counted.
    counted_to: Payload,
    waiting: Payload,
    owner: Option<Attribution>,
    shared: bool,
}

impl Account {
    /// The process that its bytes are credited to.
    pub(crate) const fn owner(&self) -> Option<ProcessId> {
        match self.owner {
            Some(Attribution::Process(process)) => Some(process),
            _ => None,
        }
    }

    /// `true` once several processes held it at the same time.
    pub(crate) const fn shared(&self) -> bool {
        self.shared
    }
}

impl<K: Copy + Eq + Hash> Ledger<K> {
    /// Counts what an open socket moved since its last report.
    pub(crate) fn record(
        &mut self,
        id: K,
        now: Payload,
        since: Since,
        holder: Holder<'_>,
    ) -> Account {
        let account = self.accounts.entry(id).or_insert_with(|| Account {
            counted_to: match since {
                Since::Birth => Payload::default(),
                Since::Now => now,
            },
            ..Account::default()
        });
        let moved = above(now, account.counted_to);
        add(&mut account.counted_to, moved);
        add(&mut self.counted, moved);
        account.shared |= matches!(holder, Holder::Processes([_, _, ..]));
        if account.shared
            && moved != Payload::default()
            && let Holder::Processes(holders) = holder
        {
            self.guesses.extend(holders);
        }
        account.owner = owner(account.owner, holder);
        match account.owner {
            Some(owner) => {
                let total = self.totals.entry(owner).or_default();
                add(total, moved);
                add(total, account.waiting);
                take(&mut self.waiting, account.waiting);
                account.waiting = Payload::default();
            }
            None => {
                add(&mut account.waiting, moved);
                add(&mut self.waiting, moved);
            }
        }
        *account
    }

    /// Counts what a socket moved until it closed, and forgets the socket.
    ///
    /// `last` is `None` when its last report is all that is known.
    pub(crate) fn close(&mut self, id: K, last: Option<Payload>) -> Account {
        let counted_to = self.account(id).map(|account| account.counted_to);
        let last = last.or(counted_to).unwrap_or_default();
        self.record(id, last, Since::Birth, Holder::Nobody);
        let mut account = self.accounts.remove(&id).unwrap_or_default();
        if account.owner.is_none() {
            add(
                self.totals.entry(Attribution::Unknown).or_default(),
                account.waiting,
            );
            take(&mut self.waiting, account.waiting);
            account.waiting = Payload::default();
            account.owner = Some(Attribution::Unknown);
        }
        account
    }

    /// The socket was disconnected and used again: its counters began at zero.
    pub(crate) fn restart(&mut self, id: K) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.counted_to = Payload::default();
        }
    }

    /// What is known of a socket that has not been closed.
    pub(crate) fn account(&self, id: K) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// Everybody who was credited with a socket or bytes, with their bytes since the start.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (Attribution, Payload)> + '_ {
        self.totals.iter().map(|(&owner, &total)| (owner, total))
    }

    /// What one owner was credited with.
    pub(crate) fn total(&self, owner: Attribution) -> Payload {
        self.totals.get(&owner).copied().unwrap_or_default()
    }

    /// Whether some of a process's bytes, or of those missing from it, moved over
    /// a socket that it shared.
    pub(crate) fn is_guess(&self, process: ProcessId) -> bool {
        self.guesses.contains(&process)
    }

    /// Forgets which other processes shared a socket.
    pub(crate) fn retain_guesses(&mut self, keep: impl Fn(ProcessId) -> bool) {
        self.guesses.retain(|&process| keep(process));
    }

    /// Bytes of open sockets that have no owner yet.
    pub(crate) const fn waiting(&self) -> Payload {
        self.waiting
    }

    /// Drops the row of a process that is gone.
    pub(crate) fn retire(&mut self, process: ProcessId) {
        self.guesses.remove(&process);
        if let Some(total) = self.totals.remove(&Attribution::Process(process)) {
            add(&mut self.retired, total);
        }
    }

    /// Everything counted since the start. Equal to the rows, what waits and
    /// what was retired.
    #[cfg(test)]
    const fn counted(&self) -> Payload {
        self.counted
    }
}

/// Who owns a socket, given who owned it and who holds it.
fn owner(known: Option<Attribution>, holder: Holder<'_>) -> Option<Attribution> {
    match (known, holder) {
        (Some(Attribution::Process(process)), Holder::Processes(holders))
            if holders.contains(&process) =>
        {
            known
        }
        (_, Holder::Processes([oldest, ..])) => Some(Attribution::Process(*oldest)),
        (Some(_), _) => known,
        (None, Holder::Kernel) => Some(Attribution::Kernel),
        (None, Holder::Unknown) => Some(Attribution::Unknown),
        (None, Holder::Nobody | Holder::Processes([])) => None,
    }
}

const fn above(now: Payload, before: Payload) -> Payload {
    Payload {
        rx_bytes: now.rx_bytes.saturating_sub(before.rx_bytes),
        tx_bytes: now.tx_bytes.saturating_sub(before.tx_bytes),
    }
}

const fn add(to: &mut Payload, more: Payload) {
    to.rx_bytes = to.rx_bytes.saturating_add(more.rx_bytes);
    to.tx_bytes = to.tx_bytes.saturating_add(more.tx_bytes);
}

const fn take(from: &mut Payload, less: Payload) {
    *from = above(*from, less);
}

#[cfg(test)]
mod tests;
