//! The truth against what a collector reported.
//!
//! Figures must be exact and right. Where the kernel skipped runs of the collector's
//! programs and the status counts them, figures may be too small if they say so, and
//! rows, owners and directions may be missing; what is told must still be true.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use anyhow::Result;
use netwatch_sdk::reading::{Accuracy, Payload};

use crate::{
    director::{Run, cross_check},
    observe::{Observation, SeenSocket, Who},
    results,
    shape::Shape,
    truth::{Claim, Key, Moved, ProcessTruth, Truth, Way, sum},
};

/// When the reading was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The processes wait with their sockets open.
    Open,
    /// Everything has ended.
    Over,
}

/// One figure that is not what it should be.
#[derive(Debug)]
pub(crate) struct Difference {
    what: String,
    figure: &'static str,
    expected: String,
    seen: String,
    bytes_off: u64,
}

/// All differences; empty when every byte, name and address is right.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    rows: Vec<Difference>,
    /// Off in the processes' totals.
    pub(crate) process_bytes: u64,
    /// Off in the sockets' totals.
    pub(crate) socket_bytes: u64,
    /// When, and what was told as lost.
    context: String,
}

impl Differences {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn text<T: fmt::Debug + PartialEq>(
        &mut self,
        what: &str,
        figure: &'static str,
        expected: &T,
        seen: &T,
    ) {
        if expected != seen {
            self.rows.push(Difference {
                what: what.to_owned(),
                figure,
                expected: format!("{expected:?}"),
                seen: format!("{seen:?}"),
                bytes_off: 0,
            });
        }
    }

    /// Compares what a row says, and returns how many bytes it is off.
    fn payload(
        &mut self,
        what: &str,
        expected: (u64, u64),
        (seen, accuracy): (Payload, Accuracy),
        gaps: &Gaps,
    ) -> u64 {
        let admitted = accuracy != Accuracy::Exact && gaps.missed_runs;
        self.text(what, "exact", &true, &(accuracy == Accuracy::Exact || admitted));
        self.bytes(what, expected, seen, admitted.then_some(accuracy))
    }

    /// Compares bytes, and returns how many they are off; of what is admitted to be less
    /// than exact, how many are too much.
    fn bytes(
        &mut self,
        what: &str,
        (tx, rx): (u64, u64),
        seen: Payload,
        admitted: Option<Accuracy>,
    ) -> u64 {
        let figures = [("tx", tx, seen.tx_bytes), ("rx", rx, seen.rx_bytes)];
        let mut off = 0;
        for (figure, expected, seen) in figures {
            let bytes_off = match admitted {
                None | Some(Accuracy::Exact) => expected.abs_diff(seen),
                Some(Accuracy::LowerBound) => seen.saturating_sub(expected),
                Some(Accuracy::Estimate) => 0,
            };
            off += bytes_off;
            if bytes_off > 0 {
                self.rows.push(Difference {
                    what: what.to_owned(),
                    figure,
                    expected: expected.to_string(),
                    seen: seen.to_string(),
                    bytes_off,
                });
            }
        }
        off
    }

    /// Fails with all of them, unless there is none.
    pub(crate) fn expect_none(self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.into())
    }

    /// The table of what is off, the first 40 rows.
    fn table(&self) -> String {
        const ROWS: usize = 40;
        let mut table = format!(
            "{}: {} figures differ: {} bytes off in processes, {} in sockets\n",
            self.context,
            self.rows.len(),
            self.process_bytes,
            self.socket_bytes
        );
        let mut line = |what: &str, figure: &str, expected: &str, seen: &str, off: &str| {
            let _ = writeln!(
                table,
                "{what:<64} {figure:<10} {expected:>24} {seen:>24} {off:>12}"
            );
        };
        line("what", "figure", "expected", "reported", "bytes off");
        for row in self.rows.iter().take(ROWS) {
            let off = row.bytes_off.to_string();
            line(&row.what, row.figure, &row.expected, &row.seen, &off);
        }
        if self.rows.len() > ROWS {
            let _ = writeln!(table, "… and {} more", self.rows.len() - ROWS);
        }
        table
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table())
    }
}

impl std::error::Error for Differences {}

/// What may be missing from an observation.
struct Gaps {
    /// Some rows, owners and directions.
    missed_runs: bool,
    /// Rows with payload too.
    payload: bool,
}

impl Gaps {
    fn of(seen: &Observation) -> Self {
        // Kprobes lose the bytes of a call that is not tracked.
        let lacks_calls = results::hook() == "kprobe" && seen.lost.untracked_calls > 0;
        let missed_runs = seen.lost.missed_runs > 0 || lacks_calls;
        let mut rows = seen.processes.values();
        Self {
            missed_runs,
            payload: missed_runs && rows.any(|row| row.accuracy != Accuracy::Exact),
        }
    }
}

/// Compares what a run's processes moved, while their sockets are open and when all is over,
/// with what `observe` has then.
pub(crate) fn compare_run(
    shape: &Shape,
    mut run: Run,
    mut observe: impl FnMut() -> Result<Observation>,
) -> Result<()> {
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    compare(&truth, &observe()?, Moment::Open).expect_none()?;
    run.release()?;
    compare(&truth, &observe()?, Moment::Over).expect_none()
}

/// Compares every process and every socket of the truth.
pub(crate) fn compare(truth: &Truth, seen: &Observation, moment: Moment) -> Differences {
    let mut off = compare_sockets(truth, seen, moment);
    for process in &truth.processes {
        compare_process(process, truth, seen, moment, &mut off);
    }
    off
}

/// Compares every socket of the truth.
pub(crate) fn compare_sockets(truth: &Truth, seen: &Observation, moment: Moment) -> Differences {
    // Lost rows can be those of others on the host; a lost one of ours is a difference.
    let mut off = Differences {
        context: format!("{moment:?}, lost {:?}", seen.lost),
        ..Differences::default()
    };
    let mut sockets: BTreeMap<Key, Vec<&Moved>> = BTreeMap::new();
    for moved in &truth.moved {
        sockets.entry(moved.key()).or_default().push(moved);
    }
    for (key, uses) in sockets {
        compare_socket(key, &uses, truth, seen, moment, &mut off);
    }
    off
}

fn compare_process(
    process: &ProcessTruth,
    truth: &Truth,
    seen: &Observation,
    moment: Moment,
    off: &mut Differences,
) {
    let what = format!("process {} {}", process.pid, process.name);
    let bytes = truth.of(process.pid);
    let who: Who = (process.pid, Some(process.started_ticks));
    let gaps = Gaps::of(seen);
    let Some(row) = seen.processes.get(&who) else {
        // Without bytes a process need not be known.
        if bytes != (0, 0) && !gaps.payload {
            let others = seen.processes.keys().filter(|(pid, _)| *pid == process.pid);
            let others: Vec<_> = others.map(|(_, started)| *started).collect();
            off.text(
                &what,
                "row",
                &format!("start {}", process.started_ticks),
                &format!("{others:?}"),
            );
            off.process_bytes += off.bytes(&what, bytes, Payload::default(), None);
        }
        return;
    };
    let reported = (row.payload, row.accuracy);
    off.process_bytes += off.payload(&what, bytes, reported, &gaps);
    off.text(&what, "name", &process.name, &row.name);
    off.text(
        &what,
        "shrunk",
        &false,
        &seen.shrunk_processes.contains(&who),
    );
    let alive = process.stays && moment == Moment::Open;
    // Its end can be what a missed run was about.
    if alive || !gaps.missed_runs {
        off.text(&what, "alive", &alive, &row.alive);
    }
}

fn compare_socket(
    key: Key,
    uses: &[&Moved],
    truth: &Truth,
    seen: &Observation,
    moment: Moment,
    off: &mut Differences,
) {
    let Some(first) = uses.first() else { return };
    let what = describe(first);
    let bytes = sum(uses.iter().copied());
    let gaps = Gaps::of(seen);
    let Some(row) = seen.sockets.get(&key) else {
        let connection = first.way != Way::Listening && first.remote.is_some();
        let held = moment == Moment::Open && uses.iter().any(|one| one.held);
        let may_be_missing = gaps.payload || gaps.missed_runs && bytes == (0, 0);
        if first.addressed && (bytes != (0, 0) || connection || held) && !may_be_missing {
            off.text(&what, "row", &"one", &"none");
            off.socket_bytes += off.bytes(&what, bytes, Payload::default(), None);
        }
        return;
    };
    off.text(&what, "measured", &true, &row.payload.is_some());
    let reported = (row.payload.unwrap_or_default(), row.accuracy);
    off.socket_bytes += off.payload(&what, bytes, reported, &gaps);
    off.text(&what, "shrunk", &false, &seen.shrunk_sockets.contains(&key));
    let times = row.ends + usize::from(row.open);
    off.text(
        &what,
        "reported",
        &true,
        &(times == 1 || times == 0 && gaps.missed_runs),
    );
    off.text(&what, "protocol", &first.protocol, &row.protocol);
    if first.addressed {
        off.text(&what, "local", &first.local, &row.local);
        off.text(&what, "remote", &first.remote, &row.remote);
    }
    let untold = row.way == Way::Untold && gaps.missed_runs;
    if first.way != Way::Untold && !untold {
        off.text(&what, "direction", &first.way, &row.way);
    }
    let process = truth.processes.iter().find(|one| one.pid == first.pid);
    if let Some(process) = process {
        off.text(&what, "uid", &Some(process.uid), &row.uid);
        off.text(&what, "netns", &Some(process.netns), &row.netns);
    }
    if row.owner.is_some() || !gaps.missed_runs {
        compare_owner(&what, uses, truth, row, &gaps, off);
    }
}

fn compare_owner(
    what: &str,
    uses: &[&Moved],
    truth: &Truth,
    row: &SeenSocket,
    gaps: &Gaps,
    off: &mut Differences,
) {
    let claims = |claim| uses.iter().find(move |one| one.claim == claim);
    // Who accepted it and moved nothing owns it if a reading found it so.
    let acceptor = claims(Claim::Unclaimed);
    let reported = row.owner.map(|(pid, _)| pid);
    let owner = match (claims(Claim::Owner), acceptor) {
        (_, Some(acceptor)) if reported == Some(acceptor.pid) => acceptor,
        (Some(owner), _) => owner,
        (None, Some(acceptor)) if reported.is_some() => acceptor,
        (None, _) => return,
    };
    let Some(process) = truth.processes.iter().find(|one| one.pid == owner.pid) else {
        off.text(what, "owner", &"told in the truth", &"not told");
        return;
    };
    let who = (process.pid, Some(process.started_ticks));
    off.text(what, "owner", &Some(who), &row.owner);
    off.text(
        what,
        "owner name",
        &Some(&process.name),
        &row.owner_name.as_ref(),
    );
    let others = uses.iter().filter(|one| one.pid != owner.pid);
    let shared = others.map(|one| one.tx + one.rx).sum::<u64>() > 0;
    // What moves bytes while a missed run leaves the owner untold is another.
    if !gaps.missed_runs {
        off.text(what, "shared", &shared, &row.shared);
    }
}

fn describe(moved: &Moved) -> String {
    let remote = moved
        .remote
        .map_or("*".to_owned(), |remote| remote.to_string());
    let protocol = moved.protocol;
    format!(
        "socket {} {protocol} {} {remote}",
        moved.cookie, moved.local
    )
}
