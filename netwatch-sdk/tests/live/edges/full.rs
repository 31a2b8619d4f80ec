//! Maps that are too small: what does not fit is counted as lost, to the byte.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::Builder;

use crate::{
    compare::{Moment, compare_sockets},
    director::{Run, cross_check},
    observe::{Observation, Observer},
    shape, shapes,
    trial::alone,
    truth::{Moved, Truth},
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        alone(
            "full-processes",
            "room for two processes: what hundreds moved reaches their rows by their sockets",
            || few_processes("tcp-short-processes-v4", 4 << 20, Loss::None),
        ),
        alone(
            "full-processes-udp",
            "room for two processes: what hundreds sent by UDP reaches their rows by their sockets",
            || few_processes("udp-short-processes-v4", 4 << 20, Loss::None),
        ),
        alone(
            "full-both",
            "room for two processes and 16 closed sockets: what is in no row is counted as lost",
            || few_processes("tcp-short-processes-v4", 4_096, Loss::Some),
        ),
        alone(
            "full-shared",
            "room for two processes: what others moved on a socket is in their rows or lost",
            || few_processes("tcp-fork-both-v4", 4 << 20, Loss::Some),
        ),
        alone(
            "full-closed",
            "room for 16 closed sockets: totals stay exact, lost rows are counted",
            closed,
        ),
    ]
}

/// Whether rows can be complete when the map of processes is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Some,
}

const ROOM: u32 = 2;

fn few_processes(name: &str, closed_bytes: u32, loss: Loss) -> Result<()> {
    let mut roomy = Observer::with(|builder| builder)?;
    let tiny = |builder: Builder| {
        builder
            .max_processes(ROOM)
            .closed_buffer_bytes(closed_bytes)
    };
    let mut tiny = Observer::with(tiny)?;
    // Processes that take the room, by bytes moved on each other's sockets, and stay.
    let filler = shape::named("tcp-fork-both-v4").context("no such shape")?;
    let mut fillers = [Run::start(filler)?, Run::start(filler)?];
    let mut truth = Truth::default();
    for filler in &mut fillers {
        truth.add_all(filler.done()?);
    }
    let (of_shape, seen, all) = observe(name, &mut tiny, &mut roomy)?;
    let of_shape_only = of_shape.clone();
    truth.add_all(of_shape);
    tiny.ensure_full()?;
    let (mut tx, mut rx, mut of_shape) = (0, 0, 0);
    for process in &truth.processes {
        let who = (process.pid, Some(process.started_ticks));
        let payload = seen.processes.get(&who).map(|row| row.payload);
        let (reported, moved) = (payload.unwrap_or_default(), truth.of(process.pid));
        let name = &process.name;
        ensure!(
            reported.tx_bytes <= moved.0 && reported.rx_bytes <= moved.1,
            "{name}: {reported:?} for {moved:?}"
        );
        tx += moved.0 - reported.tx_bytes;
        rx += moved.1 - reported.rx_bytes;
        if of_shape_only
            .processes
            .iter()
            .any(|one| one.pid == process.pid)
        {
            of_shape += moved.0 - reported.tx_bytes + moved.1 - reported.rx_bytes;
        }
    }
    // Other processes of the host can lose bytes too, but no more than they moved.
    let (others_tx, others_rx) = others(&truth, &all);
    let (lost_tx, lost_rx) = (
        seen.lost.unattributed_tx_bytes,
        seen.lost.unattributed_rx_bytes,
    );
    ensure!(
        (tx..=tx + others_tx).contains(&lost_tx) && (rx..=rx + others_rx).contains(&lost_rx),
        "{tx} sent and {rx} received bytes are in no row, counted as lost: {:?}",
        seen.lost
    );
    ensure!(
        (loss == Loss::Some) == (of_shape > 0),
        "{of_shape} bytes are in no row, expected {loss:?}"
    );
    let bucket = seen
        .buckets
        .get("[unattributed]")
        .copied()
        .unwrap_or_default();
    ensure!(
        (bucket.tx_bytes, bucket.rx_bytes) == (lost_tx, lost_rx),
        "[unattributed] is {bucket:?}, lost {:?}",
        seen.lost
    );
    for filler in &mut fillers {
        filler.release()?;
    }
    Ok(())
}

fn closed() -> Result<()> {
    let mut roomy = Observer::with(|builder| builder)?;
    let mut tiny = Observer::with(|builder| builder.closed_buffer_bytes(4_096))?;
    let (truth, seen, _) = observe("tcp-short-connections-v4", &mut tiny, &mut roomy)?;
    for process in &truth.processes {
        let who = (process.pid, Some(process.started_ticks));
        let row = seen.processes.get(&who).context("no row for a process")?;
        let reported = (row.payload.tx_bytes, row.payload.rx_bytes);
        let moved = truth.of(process.pid);
        ensure!(
            reported == moved,
            "{}: {reported:?}, moved {moved:?}",
            process.name
        );
    }
    let short: Vec<&Moved> = truth.moved.iter().filter(|one| !one.held).collect();
    let present = |one: &&&Moved| seen.sockets.contains_key(&one.key());
    let missing = (short.len() - short.iter().filter(present).count()) as u64;
    ensure!(
        // Both ends of each, but for the few that there is room for.
        missing > 2 * shapes::short_count() as u64 - 100,
        "only {missing} of {} rows are missing",
        short.len()
    );
    ensure!(
        seen.lost.closed_rows >= missing,
        "{missing} rows are missing, counted as lost: {:?}",
        seen.lost
    );
    // What is there is right: compare only that.
    let mut kept = truth.clone();
    kept.moved
        .retain(|one| seen.sockets.contains_key(&one.key()));
    compare_sockets(&kept, &seen, Moment::Over).expect_none()
}

/// Runs a shape under both collectors: its truth, what the tiny one saw, and the other.
fn observe(
    shape: &str,
    tiny: &mut Observer,
    roomy: &mut Observer,
) -> Result<(Truth, Observation, Observation)> {
    let shape = shape::named(shape).context("no such shape")?;
    let mut run = Run::start(shape)?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    run.release()?;
    let seen = tiny.read()?;
    let all = roomy.read()?;
    ensure!(all.lost.is_empty(), "at default sizes: {:?}", all.lost);
    Ok((truth, seen, all))
}

/// Payload bytes of processes that are not the test's.
fn others(truth: &Truth, all: &Observation) -> (u64, u64) {
    let ours = |pid: u32| truth.processes.iter().any(|one| one.pid == pid);
    let others = all.processes.values().filter(|row| !ours(row.who.0));
    others.fold((0, 0), |(tx, rx), row| {
        (tx + row.payload.tx_bytes, rx + row.payload.rx_bytes)
    })
}
