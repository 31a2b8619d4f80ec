//! Several readers of one collector: each gets every byte once.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Reader,
    wire::{Accuracy, ConnectionDetail, ProcessBandwidth, Snapshot, Source},
};

use crate::{
    director::Run,
    observe::exact,
    quiet, results, shape,
    shapes::{STEPS, step_size},
    trial::trial,
    truth::{Moved, Truth},
};

pub(crate) fn trials() -> Vec<Trial> {
    let about = "deltas add up to the total, whoever else reads";
    vec![trial("readers", about, run)]
}

/// Sums of one reader's deltas for one process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    tx: u64,
    rx: u64,
}

impl Sums {
    /// Adds a snapshot's row of `pid`, and returns what it held.
    fn add(&mut self, snapshot: &Snapshot, pid: u32) -> (u64, u64) {
        let moved = row(snapshot, pid).map_or((0, 0), |row| (row.tx_bytes, row.rx_bytes));
        self.tx += moved.0;
        self.rx += moved.1;
        moved
    }
}

fn row(snapshot: &Snapshot, pid: u32) -> Option<&ProcessBandwidth> {
    snapshot
        .processes
        .iter()
        .flatten()
        .find(|row| row.pid == Some(pid))
}

fn run() -> Result<()> {
    let _quiet = quiet::among_others();
    let collector = match exact()?.start() {
        Err(error) if !nix::unistd::geteuid().is_root() => {
            return Err(crate::actor::unavailable("needs root", error));
        }
        other => other?,
    };
    let mut each = collector.reader();
    let mut third = collector.reader();
    let mut late: Option<Reader> = None;
    let mut run = Run::start(shape::named("steps-v4").context("no such shape")?)?;
    let pid = run.driver.pid();
    let (mut of_each, mut of_third, mut of_late) = Default::default();
    run.driver.paused()?;
    for step in 0..STEPS {
        if step == STEPS / 2 {
            late = Some(collector.reader());
        }
        run.driver.go()?;
        run.driver.paused()?;
        let snapshot = each.snapshot()?;
        let moved = Sums::add(&mut of_each, &snapshot, pid);
        let expected = (step_size(step) as u64, step_size(step) as u64 / 10);
        ensure!(
            moved == expected,
            "step {step}: {moved:?} reported, {expected:?} moved"
        );
        check_row(&snapshot, pid)?;
        if step % 3 == 0 {
            Sums::add(&mut of_third, &third.snapshot()?, pid);
        }
    }
    run.driver.go()?;
    let truth = run.done()?;
    let last = each.snapshot()?;
    ensure!(
        Sums::add(&mut of_each, &last, pid) == (0, 0),
        "bytes after the last step"
    );
    Sums::add(&mut of_third, &third.snapshot()?, pid);
    Sums::add(
        &mut of_late,
        &late.context("no late reader")?.snapshot()?,
        pid,
    );
    let (tx, rx) = truth.of(pid);
    let expected = Sums { tx, rx };
    ensure!(
        of_each == expected,
        "every step: {of_each:?}, moved {expected:?}"
    );
    ensure!(
        of_third == expected,
        "every third step: {of_third:?}, moved {expected:?}"
    );
    let late = (STEPS / 2..STEPS).map(|step| step_size(step) as u64);
    let late = Sums {
        tx: late.clone().sum(),
        rx: late.map(|size| size / 10).sum(),
    };
    ensure!(
        of_late == late,
        "reader from the middle on: {of_late:?}, moved since {late:?}"
    );
    for moved in &truth.moved {
        check_connection(&last, moved, &truth, false)?;
    }
    run.release()?;
    // Both see the end of each socket, exactly once.
    let (one, other) = (ends(&mut each, &truth)?, third.snapshot()?);
    for moved in truth.moved.iter().filter(|moved| moved.remote.is_some()) {
        check_connection(&one, moved, &truth, true)?;
        check_connection(&other, moved, &truth, true)?;
    }
    Ok(())
}

fn check_row(snapshot: &Snapshot, pid: u32) -> Result<()> {
    let row = row(snapshot, pid).context("no row")?;
    ensure!(
        row.process_name == "drive-steps-v4",
        "named {}",
        row.process_name
    );
    ensure!(
        row.connection_count == 1,
        "{} connections",
        row.connection_count
    );
    ensure!(row.source == Some(Source::Ebpf), "source {:?}", row.source);
    // With kprobes the kernel may have skipped a run of another test's.
    ensure!(
        row.accuracy == Some(Accuracy::Exact) || results::hook() == "kprobe",
        "accuracy {:?}",
        row.accuracy
    );
    ensure!(
        row.tx_rate > row.rx_rate && row.rx_rate > 0.0,
        "rates {} and {}",
        row.tx_rate,
        row.rx_rate
    );
    ensure!(
        row.wire_tx_bytes.is_some_and(|wire| wire > row.tx_bytes),
        "{:?} bytes on the wire for {} of payload",
        row.wire_tx_bytes,
        row.tx_bytes
    );
    Ok(())
}

/// Readings until every connection has ended: the last packets of some may be on their way.
fn ends(reader: &mut Reader, truth: &Truth) -> Result<Snapshot> {
    let started = Instant::now();
    let connections = truth.moved.iter().filter(|one| one.remote.is_some());
    let expected = connections.count();
    let mut all = reader.snapshot()?;
    loop {
        let rows = all.connections.get_or_insert_default();
        rows.retain(|row| row.closed == Some(true));
        let ours = |row: &&ConnectionDetail| {
            let of_row = |one: &Moved| one.remote.is_some() && row.cookie == Some(one.cookie);
            truth.moved.iter().any(of_row)
        };
        let ended = rows.iter().filter(ours).count();
        if ended >= expected || started.elapsed() > Duration::from_secs(5) {
            return Ok(all);
        }
        thread::sleep(Duration::from_millis(20));
        rows.extend(reader.snapshot()?.connections.unwrap_or_default());
    }
}

/// The row of one socket as it goes over the wire.
fn check_connection(snapshot: &Snapshot, moved: &Moved, truth: &Truth, closed: bool) -> Result<()> {
    let mine = |row: &&ConnectionDetail| row.cookie == Some(moved.cookie);
    let rows: Vec<_> = snapshot.connections.iter().flatten().filter(mine).collect();
    let [row] = rows[..] else {
        anyhow::bail!("{} rows for {moved:?}", rows.len());
    };
    let remote = moved
        .remote
        .map_or("*:*".to_owned(), |remote| remote.to_string());
    ensure!(
        (row.local_addr.as_str(), &row.remote_addr) == (&moved.local.to_string(), &remote),
        "{row:?} for {moved:?}"
    );
    let owner = truth.processes.iter().find(|one| one.pid == moved.pid);
    let name = owner.map(|owner| owner.name.clone());
    ensure!(
        row.pid == Some(moved.pid) && row.process_name == name,
        "{row:?} for {name:?}"
    );
    ensure!(
        (row.tx_bytes, row.rx_bytes) == (Some(moved.tx), Some(moved.rx)),
        "{row:?} for {moved:?}"
    );
    ensure!(row.protocol == "TCP", "protocol {}", row.protocol);
    ensure!(
        row.closed == closed.then_some(true),
        "closed {:?}",
        row.closed
    );
    let state = match moved.remote {
        Some(_) => "ESTABLISHED",
        None => "LISTEN",
    };
    ensure!(
        closed || row.state == state,
        "state {}, not {state}",
        row.state
    );
    ensure!(
        moved.remote.is_none() || row.kernel_rtt_us.is_some_and(|rtt| rtt > 0.0),
        "no round-trip time: {row:?}"
    );
    Ok(())
}
