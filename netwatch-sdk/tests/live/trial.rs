//! One test: its name, what it asks, and how it went, told and noted.

use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Completion, Failed, Trial};

use crate::{actor::Unavailable, limits, quiet, results};

/// A [`trial`] while which no other test makes traffic.
pub(crate) fn alone(
    name: impl Into<String>,
    about: &str,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial(name, about, move || {
        let _alone = quiet::alone();
        run()
    })
}

/// A test called `name`. One that cannot run on this host says why; in CI (`CI=true`) it
/// then fails, unless [`limits`] knows the reason.
pub(crate) fn trial(
    name: impl Into<String>,
    about: &str,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let name = name.into();
    Trial::ignorable_test(format!("{name}: {about}"), move || {
        let started = Instant::now();
        let result = run();
        let result = result.map_err(|error| match error.downcast_ref() {
            Some(Unavailable(reason)) => limits::explain(&name, reason),
            None => error,
        });
        results::note_test(&name, &result, started.elapsed())?;
        let Err(error) = result else {
            return Ok(Completion::Completed);
        };
        let Some(Unavailable(reason)) = error.downcast_ref() else {
            return Err(Failed::from(format!("{error:#}")));
        };
        let said = format!("cannot run here: {reason}");
        eprintln!("{name}: {said}");
        Ok(Completion::ignored_with(said))
    })
}
