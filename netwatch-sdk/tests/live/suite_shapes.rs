//! Every traffic shape, to the byte: while its sockets are open, and when all is over.

use anyhow::Result;
use libtest_mimic::Trial;

use crate::{
    compare::{Moment, compare},
    director::{Run, cross_check},
    observe, quiet,
    shape::Shape,
    shapes,
    trial::trial,
};

pub(crate) fn trials() -> Vec<Trial> {
    shapes::unattended()
        .map(|shape| trial(shape.name(), &shape.sentence(), || check(shape)))
        .collect()
}

fn check(shape: &Shape) -> Result<()> {
    let _quiet = quiet::among_others();
    let started = observe::shared().and_then(|observer| observer.ensure_counted(shape));
    let mut run = Run::start(shape)?;
    let truth = run.done()?;
    cross_check(shape, &truth)?;
    started?;
    let open = compare(&truth, &observe::shared()?.read()?, Moment::Open);
    run.release()?;
    open.expect_none()?;
    compare(&truth, &observe::shared()?.read()?, Moment::Over).expect_none()
}
