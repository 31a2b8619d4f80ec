//! Every traffic shape by the backends that need no kernel program: what they call exact
//! is exact, a lower bound is one, and what `docs/accuracy.md` promises is there.

mod seen;
mod table;
mod verdict;

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use libtest_mimic::Trial;
use netwatch_sdk::Backend;

use self::{seen::Watcher, verdict::Verdict};
use crate::{
    actor::unavailable,
    compare::Moment,
    director::{Run, cross_check},
    quiet,
    shape::{Family, Shape},
    shapes,
    trial::trial,
    truth::Truth,
};

const BACKENDS: [Backend; 2] = [Backend::SockDiag, Backend::Ss];
/// The kernel tells of closed sockets from a work queue.
const LATE: Duration = Duration::from_secs(3);

pub(crate) use table::print as accuracy;

/// Which shapes: how sockets are counted does not depend on the address family, so IPv6
/// and mapped addresses are tried with a few.
fn shapes() -> impl Iterator<Item = &'static Shape> {
    const IN_EVERY_FAMILY: [&str; 3] = ["tcp-bulk", "udp-connected", "tcp-fast-open"];
    /// What TCP counted is not what the calls moved, and nothing tells of it.
    const OTHERWISE: [&str; 2] = ["tcp-sockmap-redirect", "tcp-sockmap-deliver"];
    shapes::unattended()
        .filter(|shape| shape.family == Family::V4 || IN_EVERY_FAMILY.contains(&shape.stem))
        .filter(|shape| !OTHERWISE.contains(&shape.stem))
}

pub(crate) fn trials() -> Vec<Trial> {
    shapes()
        .map(|shape| {
            let name = format!("userspace-{}", shape.name());
            trial(name, &shape.sentence(), || check(shape))
        })
        .collect()
}

fn check(shape: &Shape) -> Result<()> {
    let _quiet = quiet::among_others();
    let mut watchers = watchers()?;
    let wrong: Vec<String> = measure(shape, &mut watchers, |_, _| Ok(()))?
        .into_iter()
        .flat_map(|verdict| verdict.wrong)
        .collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn watchers() -> Result<Vec<Watcher>> {
    if !nix::unistd::geteuid().is_root() {
        return Err(unavailable("needs root", "the processes have other owners"));
    }
    let in_machine = env::var_os("NETWATCH_VM").is_some();
    BACKENDS
        .into_iter()
        // There is no `ss` in a virtual machine.
        .filter(|backend| !in_machine || *backend != Backend::Ss)
        .map(Watcher::start)
        .collect()
}

/// Runs a shape beside collectors; `also` looks at the same two moments.
fn measure(
    shape: &Shape,
    watchers: &mut [Watcher],
    mut also: impl FnMut(&Truth, Moment) -> Result<()>,
) -> Result<Vec<Verdict>> {
    let mut run = Run::start(shape)?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    let mut open = Vec::new();
    for watcher in &mut *watchers {
        let backend = watcher.backend;
        let seen = watcher.read()?;
        open.push(Verdict::of(backend, shape, &truth, seen, Moment::Open));
    }
    also(&truth, Moment::Open)?;
    run.release()?;
    let mut verdicts = Vec::new();
    for (watcher, open) in watchers.iter_mut().zip(open) {
        let over = settle(watcher, shape, &truth)?;
        verdicts.push(Verdict {
            open: open.open,
            passing: over.passing,
            processes: open.processes,
            wrong: open.wrong.into_iter().chain(over.wrong).collect(),
        });
    }
    also(&truth, Moment::Over)?;
    Ok(verdicts)
}

/// Reads until everything promised has come.
fn settle(watcher: &mut Watcher, shape: &Shape, truth: &Truth) -> Result<Verdict> {
    let deadline = Instant::now() + LATE;
    loop {
        let backend = watcher.backend;
        let seen = watcher.read().context("after the end")?;
        let verdict = Verdict::of(backend, shape, truth, seen, Moment::Over);
        if verdict.wrong.is_empty() || Instant::now() > deadline {
            return Ok(verdict);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
