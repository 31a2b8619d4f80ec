//! The records of sockets in a table by address, as on kernels without socket storage.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::{
    compare::compare_run,
    director::Run,
    observe::{self, Observer},
    quiet, results, shape,
    trial::trial,
};

pub(crate) fn trials() -> Vec<Trial> {
    let exact = [
        "tcp-request-response-v4",
        "tcp-bulk-v6",
        "tcp-short-connections-v4",
        "tcp-short-processes-v4",
        "udp-several-destinations-mapped",
        "udp-short-processes-v4",
        "tcp-fork-both-v4",
    ];
    let about = "exact with the records of sockets in a table";
    let in_table =
        |shape: &'static str| trial(format!("table-{shape}"), about, move || check(shape));
    let mut trials: Vec<Trial> = exact.into_iter().map(in_table).collect();
    let about = "room for four sockets: totals are exact (with kprobe, at most that), calls without a record are counted";
    trials.push(trial("table-full", about, full));
    trials
}

fn check(shape: &str) -> Result<()> {
    let _quiet = quiet::among_others();
    observe::shared_in_table()?.read()?;
    let shape = shape::named(shape).context("no such shape")?;
    compare_run(shape, Run::start(shape)?, || observe::shared_in_table()?.read())
}

fn full() -> Result<()> {
    let _alone = quiet::alone();
    let mut tiny = Observer::with(|builder| builder.in_table().max_sockets(4))?;
    let kprobes = results::hook() == "kprobe";
    let shape = shape::named("tcp-request-response-v4").context("no such shape")?;
    // The first of them take the room.
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(Run::start(shape)?);
    }
    for run in &mut runs {
        let truth = run.done()?;
        let seen = tiny.read()?;
        for process in &truth.processes {
            let who = (process.pid, Some(process.started_ticks));
            let row = seen.processes.get(&who);
            let payload = row.map(|row| row.payload).unwrap_or_default();
            let reported = (payload.tx_bytes, payload.rx_bytes);
            let moved = truth.of(process.pid);
            let name = &process.name;
            // Without a record, kprobes cannot tell what a TCP call moved.
            let is_right = match kprobes {
                true => reported.0 <= moved.0 && reported.1 <= moved.1,
                false => reported == moved,
            };
            ensure!(is_right, "{name}: {reported:?}, moved {moved:?}");
        }
        tiny.ensure_full()?;
        ensure!(seen.lost.untracked_calls > 0, "{:?}", seen.lost);
    }
    for run in &mut runs {
        run.release()?;
    }
    Ok(())
}
