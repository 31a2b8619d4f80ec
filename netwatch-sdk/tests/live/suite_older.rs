//! Sockets that are older than the collector.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::{
    compare::{Moment, compare, compare_run},
    director::Run,
    observe::Observer,
    quiet,
    shape::{self, Shape},
    trial::trial,
    truth::{Truth, Way},
};

const SHAPES: [&str; 4] = [
    "older-sockets-v4",
    "older-sockets-v6",
    "older-sockets-mapped",
    "older-sockets-namespace-v4",
];

pub(crate) fn by_hook() -> Vec<Trial> {
    vec![trial(
        "older-sockets",
        "bytes count from the start of the collector on: v4, v6, v4-mapped, other namespaces",
        moving,
    )]
}

pub(crate) fn once() -> Vec<Trial> {
    vec![trial(
        "older-idle",
        "a thousand sockets that moved nothing are listed with their owners at once",
        idle,
    )]
}

fn moving() -> Result<()> {
    let _quiet = quiet::among_others();
    let shapes = SHAPES.map(shape::named);
    let shapes: Vec<&Shape> = shapes.into_iter().flatten().collect();
    ensure!(shapes.len() == SHAPES.len(), "no such shape");
    let mut runs = Vec::new();
    for shape in &shapes {
        let mut run = Run::start(shape)?;
        run.paused()?;
        runs.push(run);
    }
    let mut observer = Observer::with(|builder| builder)?;
    for (shape, mut run) in shapes.iter().zip(runs) {
        run.go()?;
        compare_run(shape, run, || observer.read())?;
    }
    Ok(())
}

fn idle() -> Result<()> {
    let _quiet = quiet::among_others();
    let shape = shape::named("idle-sockets-v4").context("no such shape")?;
    let mut run = Run::start(shape)?;
    let mut truth = run.done()?;
    // Nobody can tell any more who opened a connection that is older.
    for moved in &mut truth.moved {
        moved.way = Way::Untold;
    }
    let mut observer = Observer::with(|builder| builder)?;
    let seen = observer.read()?;
    compare(&truth, &seen, Moment::Open).expect_none()?;
    for process in &truth.processes {
        let who = (process.pid, Some(process.started_ticks));
        let held = held_by(&truth, process.pid);
        let row = seen.processes.get(&who).context("no row for an owner")?;
        let name = &process.name;
        ensure!(
            row.sockets == held,
            "{name} owns {held} sockets, reported {}",
            row.sockets
        );
        ensure!(held > 400, "{name} owns {held} sockets only");
    }
    run.release()
}

fn held_by(truth: &Truth, pid: u32) -> u32 {
    let held = truth.moved.iter().filter(|one| one.pid == pid && one.held);
    u32::try_from(held.count()).unwrap_or(u32::MAX)
}
