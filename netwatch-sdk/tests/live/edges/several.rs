//! Two collectors at once.

use anyhow::{Context, Result};
use libtest_mimic::Trial;

use crate::{
    compare::{Moment, compare},
    director::{Run, cross_check},
    observe::Observer,
    shape,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![super::trial(
        "two-collectors",
        "both are exact, and one stays so when the other ends",
        run,
    )]
}

fn run() -> Result<()> {
    let mut one = Observer::with(|builder| builder)?;
    let mut other = Observer::with(|builder| builder)?;
    check("tcp-bulk-v4", &mut [&mut one, &mut other])?;
    drop(one);
    check("udp-several-destinations-v6", &mut [&mut other])
}

fn check(shape: &str, observers: &mut [&mut Observer]) -> Result<()> {
    let shape = shape::named(shape).context("no such shape")?;
    let mut run = Run::start(shape)?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    for observer in observers {
        compare(&truth, &observer.read()?, Moment::Open).expect_none()?;
    }
    run.release()
}
