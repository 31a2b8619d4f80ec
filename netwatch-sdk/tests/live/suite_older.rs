//! Sockets that are older than the collector.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::{
    compare::{Moment, compare},
    director::{Run, cross_check},
    observe::Observer,
    quiet,
    shape::{self, Shape},
    trial::trial,
    truth::{Truth, Way},
};

pub(crate) fn trials() -> Vec<Trial> {
    let names = [
        "older-sockets-v4",
        "older-sockets-v6",
        "older-sockets-mapped",
        "older-sockets-namespace-v4",
    ];
    let about = "bytes count from the start of the collector on, idle ones are listed";
    let older = |name: &'static str| trial(name, about, move || moving(name));
    let mut trials: Vec<Trial> = names.into_iter().map(older).collect();
    let about = "a thousand sockets that moved nothing are listed with their owners at once";
    trials.push(trial("older-idle", about, idle));
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
    compare(&truth, &observer.read()?, Moment::Open).expect_none()?;
    run.release()?;
    compare(&truth, &observer.read()?, Moment::Over).expect_none()
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
