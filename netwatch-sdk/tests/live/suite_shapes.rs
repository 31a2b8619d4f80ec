//! Every traffic shape, to the byte: while its sockets are open, and when all is over.

use anyhow::{Result, bail};
use libtest_mimic::Trial;

use crate::{
    compare::{Differences, Moment, compare},
    director::{Run, cross_check},
    limits::outcome,
    observe, quiet, results,
    shape::Shape,
    shapes,
};

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |shape: &'static Shape| {
        let name = format!("{}: {}", shape.name(), shape.sentence());
        Trial::ignorable_test(name, || outcome(&shape.name(), check(shape)))
    };
    shapes::unattended().map(trial).collect()
}

fn check(shape: &Shape) -> Result<()> {
    let _quiet = quiet::among_others();
    let outcome = run(shape);
    results::note(shape, &outcome)?;
    let off = outcome?;
    if !off.is_empty() {
        bail!("{}", off.table());
    }
    Ok(())
}

fn run(shape: &Shape) -> Result<Differences> {
    let started = observe::shared().map(drop);
    let mut run = Run::start(shape)?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    started?;
    let open = compare(&truth, &observe::shared()?.read()?, Moment::Open);
    run.release()?;
    if !open.is_empty() {
        return Ok(open);
    }
    Ok(compare(&truth, &observe::shared()?.read()?, Moment::Over))
}
