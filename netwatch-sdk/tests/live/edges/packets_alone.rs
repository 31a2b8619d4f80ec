//! The hook `cgroup`: packets as exact as with calls, payload never too much.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{Hook, reading::Accuracy};

use crate::{
    director::{Run, cross_check},
    observe::{Observation, Observer},
    shape,
    truth::Truth,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![super::trial(
        "packets-alone",
        "with the hook cgroup, packets are those of a collector with calls, payload at most that",
        run,
    )]
}

const SHAPES: [&str; 5] = [
    "tcp-request-response-v4",
    "tcp-bulk-v6",
    "tcp-short-connections-v4",
    "udp-connected-v6",
    "udp-several-destinations-v6",
];

fn run() -> Result<()> {
    let mut calls = Observer::with(|builder| builder)?;
    let mut packets = Observer::with(|builder| builder.hook(Hook::Cgroup))?;
    let mut truth = Truth::default();
    for name in SHAPES {
        let shape = shape::named(name).context("no such shape")?;
        let mut run = Run::start(shape)?;
        let of_run = run.done()?;
        cross_check(shape, &of_run)?;
        truth.add_all(of_run);
        run.release()?;
    }
    // Last acknowledgements may be on their way while the two are read.
    let mut outcome = Ok(());
    for _ in 0..20 {
        let (exact, seen) = (calls.read()?, packets.read()?);
        outcome = check_processes(&truth, &exact, &seen)
            .and_then(|()| check_sockets(&truth, &exact, &seen));
        if outcome.is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    outcome
}

fn check_processes(truth: &Truth, exact: &Observation, seen: &Observation) -> Result<()> {
    for process in &truth.processes {
        let (name, pid) = (&process.name, process.pid);
        let of = |all: &Observation| {
            let row = all.processes.values().find(|row| row.who.0 == pid);
            row.cloned().with_context(|| format!("no row for {name}"))
        };
        let (exact, seen) = (of(exact)?, of(seen)?);
        ensure!(
            seen.wire.is_some() && seen.wire == exact.wire,
            "{name}: {:?}, with calls {:?}",
            seen.wire,
            exact.wire
        );
        let moved = truth.of(pid);
        ensure!(
            seen.accuracy == Accuracy::LowerBound
                && seen.payload.tx_bytes <= moved.0
                && seen.payload.rx_bytes <= moved.1,
            "{name}: {:?}, moved {moved:?}",
            seen.payload
        );
    }
    Ok(())
}

/// A closed TCP socket had everything acknowledged and received.
fn check_sockets(truth: &Truth, exact: &Observation, seen: &Observation) -> Result<()> {
    const TCP: u16 = 6;
    let mut compared = 0;
    for moved in &truth.moved {
        let key = moved.key();
        let (Some(exact), Some(seen)) = (exact.sockets.get(&key), seen.sockets.get(&key)) else {
            continue;
        };
        ensure!(seen.wire == exact.wire, "{moved:?}: {seen:?}, {exact:?}");
        ensure!(
            seen.payload.is_some() == (seen.protocol == TCP),
            "{moved:?}: {seen:?}"
        );
        if seen.ends > 0 {
            ensure!(seen.ends == 1, "{moved:?}: {seen:?}");
            compared += 1;
        }
    }
    ensure!(compared > 80, "only {compared} ended sockets to compare");
    Ok(())
}
