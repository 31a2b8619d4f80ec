//! What a backend called its figures, and whether they are what it called them.

use std::collections::BTreeMap;

use netwatch_sdk::{
    Backend,
    reading::{Accuracy, Payload, Socket},
};

use super::seen::Seen;
use crate::{
    compare::Moment,
    shape::{Place, Shape},
    truth::{Key, Moved, Truth, Way, sum},
};

/// How many figures were called what, and how many of the bytes they hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) exact: u32,
    pub(crate) lower_bound: u32,
    pub(crate) estimate: u32,
    /// Listed, and no bytes told.
    pub(crate) no_bytes: u32,
    pub(crate) not_seen: u32,
    /// Bytes told.
    pub(crate) told: u64,
    /// Bytes that moved.
    pub(crate) moved: u64,
}

/// One backend against the truth of one shape.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Sockets that were open at a reading.
    pub(crate) open: Tally,
    /// Sockets that came and went between two readings.
    pub(crate) passing: Tally,
    pub(crate) processes: Tally,
    /// Figures that are not what they were called, or not what is promised.
    pub(crate) wrong: Vec<String>,
}

/// The least that the docs promise of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Every byte, and called exact.
    Exact,
    /// A row with every byte but one of those received.
    Ended,
    /// A row whose bytes are called an estimate.
    Estimate,
    /// A row without bytes.
    Listed,
    Nothing,
}

impl Verdict {
    /// Judges everything that was reported until the reading of `moment`.
    pub(crate) fn of(
        backend: Backend,
        shape: &Shape,
        truth: &Truth,
        seen: &Seen,
        moment: Moment,
    ) -> Self {
        let mut verdict = Self::default();
        let mut sockets: BTreeMap<Key, Vec<&Moved>> = BTreeMap::new();
        for moved in &truth.moved {
            sockets.entry(moved.key()).or_default().push(moved);
        }
        for uses in sockets.values() {
            verdict.socket(backend, shape, uses, seen, moment);
        }
        verdict.processes(shape, truth, seen, moment);
        verdict
    }

    fn socket(
        &mut self,
        backend: Backend,
        shape: &Shape,
        uses: &[&Moved],
        seen: &Seen,
        moment: Moment,
    ) {
        let Some(first) = uses.first() else { return };
        let bytes = sum(uses.iter().copied());
        if first.way == Way::Listening || (bytes == (0, 0) && first.remote.is_none()) {
            return;
        }
        let held = uses.iter().any(|one| one.held);
        let tally = match held {
            true => &mut self.open,
            false => &mut self.passing,
        };
        let row = seen.socket(first);
        let told = row.and_then(|row| row.payload.map(|payload| (payload, row.accuracy)));
        tally.count(row.is_some(), told, bytes);
        let promise = promise(backend, shape, first, held, moment);
        let what = || {
            format!(
                "{backend:?}, {moment:?}: {} {} {:?}, sent and received {bytes:?}: {}",
                first.protocol,
                first.local,
                first.remote,
                row.map_or_else(|| "not seen".to_owned(), told_of)
            )
        };
        // The end of a subflow is told as that of any TCP socket.
        let is_told_apart = held || first.protocol != 262;
        if let Some((payload, accuracy)) = told
            && is_told_apart
            && !is_honest(payload, accuracy, bytes)
        {
            self.wrong.push(format!("not what it is called: {}", what()));
        }
        if !is_kept(promise, row, bytes) {
            self.wrong.push(format!("{promise:?} is promised: {}", what()));
        }
        let users: Vec<u32> = uses.iter().map(|one| one.pid).collect();
        let is_theirs = row.is_none_or(|row| match row.owner {
            Some(owner) => row.shared || users.contains(&owner.pid.0),
            None => !matches!(promise, Promise::Exact | Promise::Listed),
        });
        if !is_theirs && bytes != (0, 0) {
            self.wrong.push(format!("not owned by {users:?}: {}", what()));
        }
    }

    fn processes(&mut self, shape: &Shape, truth: &Truth, seen: &Seen, moment: Moment) {
        for process in &truth.processes {
            let bytes = truth.of(process.pid);
            if bytes == (0, 0) {
                continue;
            }
            let who = (process.pid, Some(process.started_ticks));
            let row = seen.process(who);
            let told = row.map(|row| (row.payload, row.accuracy));
            // Until the dead socket is closed nobody hears of its bytes.
            let knows = !RESET.contains(&shape.stem);
            if let Some((payload, accuracy)) = told
                && knows
                && !is_honest(payload, accuracy, bytes)
            {
                self.wrong.push(format!(
                    "{moment:?}: process {} sent and received {bytes:?}, told {accuracy:?} {payload:?}",
                    process.name
                ));
            }
            let is_whole = told.is_none_or(|(payload, accuracy)| {
                accuracy == Accuracy::Estimate || (payload.tx_bytes, payload.rx_bytes) == bytes
            });
            if moment == Moment::Open && !is_whole && holds_all(shape, truth, process.pid) {
                self.wrong.push(format!(
                    "bytes are missing: process {} sent and received {bytes:?}, told {told:?}",
                    process.name
                ));
            }
            let told = told.filter(|(payload, _)| *payload != Payload::default());
            self.processes.count(row.is_some(), told, bytes);
        }
    }
}

/// Whether all that a process moved is on TCP sockets that are open, and that it alone used.
fn holds_all(shape: &Shape, truth: &Truth, pid: u32) -> bool {
    let alone = |moved: &Moved| {
        let key = moved.key();
        truth.moved.iter().all(|other| other.key() != key || other.pid == pid)
    };
    let all = |moved: &Moved| moved.held && moved.protocol == 6 && alone(moved);
    !RESET.contains(&shape.stem) && truth.moved.iter().filter(|moved| moved.pid == pid).all(all)
}

impl Tally {
    fn count(&mut self, listed: bool, told: Option<(Payload, Accuracy)>, (tx, rx): (u64, u64)) {
        self.moved += tx + rx;
        let Some((payload, accuracy)) = told else {
            match listed {
                true => self.no_bytes += 1,
                false => self.not_seen += 1,
            }
            return;
        };
        self.told += payload.tx_bytes + payload.rx_bytes;
        match accuracy {
            Accuracy::Exact => self.exact += 1,
            Accuracy::LowerBound => self.lower_bound += 1,
            _ => self.estimate += 1,
        }
    }
}

fn is_honest(told: Payload, accuracy: Accuracy, (tx, rx): (u64, u64)) -> bool {
    match accuracy {
        Accuracy::Exact => (told.tx_bytes, told.rx_bytes) == (tx, rx),
        Accuracy::LowerBound => told.tx_bytes <= tx && told.rx_bytes <= rx,
        _ => true,
    }
}

fn is_kept(promise: Promise, row: Option<&Socket>, (tx, rx): (u64, u64)) -> bool {
    let payload = row.and_then(|row| row.payload);
    let is_exact = row.is_some_and(|row| row.accuracy == Accuracy::Exact);
    match promise {
        Promise::Nothing => true,
        Promise::Listed => row.is_some_and(|row| row.payload.is_none()),
        Promise::Estimate => row.is_some_and(|row| row.accuracy == Accuracy::Estimate),
        Promise::Ended => payload.is_some_and(|payload| {
            payload.tx_bytes == tx && (payload.rx_bytes == rx || payload.rx_bytes + 1 == rx)
        }),
        // `ss` leaves zero out, so nothing tells zero from a figure it does not know.
        Promise::Exact => payload.is_some() && (is_exact || (tx, rx) == (0, 0)),
    }
}

/// Connections that one end resets: for the kernel the other has ended too, though its
/// process still has it and no list shows it.
const RESET: [&str; 2] = ["tcp-reset", "tcp-close-unread"];

/// What the table in `docs/accuracy.md` says in words.
fn promise(backend: Backend, shape: &Shape, moved: &Moved, held: bool, moment: Moment) -> Promise {
    let is_tcp = moved.protocol != 17;
    if !moved.addressed || (backend == Backend::Ss && shape.place == Place::Namespace) {
        return Promise::Nothing;
    }
    let is_reset = RESET.contains(&shape.stem);
    let is_multipath = moved.protocol == 262;
    let is_tls = shape.stem.starts_with("tcp-ktls");
    match moment {
        Moment::Open if is_multipath || is_tls => Promise::Estimate,
        Moment::Open if is_reset => Promise::Nothing,
        Moment::Open if held && is_tcp => Promise::Exact,
        Moment::Open if held => Promise::Listed,
        Moment::Over if is_reset => Promise::Nothing,
        Moment::Over if is_multipath || is_tls => Promise::Nothing,
        Moment::Over if backend == Backend::SockDiag && is_tcp => Promise::Ended,
        _ => Promise::Nothing,
    }
}

fn told_of(row: &Socket) -> String {
    format!("{:?} {:?} {:?} {:?}", row.accuracy, row.payload, row.state, row.owner)
}
