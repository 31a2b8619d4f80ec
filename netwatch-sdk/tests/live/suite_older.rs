//! Sockets that are older than the collector.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::{
    compare::{Differences, Moment, compare},
    director::{Run, cross_check},
    limits::outcome,
    observe::Observer,
    quiet,
    shape::{self, Shape},
    truth::{Truth, Way},
};

pub(crate) fn trials() -> Vec<Trial> {
    let names = [
        "older-sockets-v4",
        "older-sockets-v6",
        "older-sockets-mapped",
        "older-sockets-namespace-v4",
    ];
    let trial = |name: &'static str| {
        let about = "bytes count from the start of the collector on, idle ones are listed";
        Trial::ignorable_test(format!("{name}: {about}"), move || {
            outcome(name, moving(name))
        })
    };
    let mut trials: Vec<Trial> = names.into_iter().map(trial).collect();
    let about = "a thousand sockets that moved nothing are listed with their owners at once";
    trials.push(Trial::ignorable_test(
        format!("older-idle: {about}"),
        || outcome("older-idle", idle()),
    ));
    trials
}

fn moving(name: &str) -> Result<()> {
    let _quiet = quiet::among_others();
    let shape: &Shape = shape::named(name).context("no such shape")?;
    let mut run = Run::start(shape)?;
    run.paused()?;
    let mut observer = Observer::with(|builder| builder)?;
    run.go()?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    expect_none(&compare(&truth, &observer.read()?, Moment::Open))?;
    run.release()?;
    expect_none(&compare(&truth, &observer.read()?, Moment::Over))
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
    expect_none(&compare(&truth, &seen, Moment::Open))?;
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

pub(crate) fn expect_none(off: &Differences) -> Result<()> {
    if !off.is_empty() {
        bail!("{}", off.table());
    }
    Ok(())
}
