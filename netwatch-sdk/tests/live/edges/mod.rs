//! Hosts and moments at which a collector has to give way, and says so.

pub(crate) mod child;
mod denials;
mod ended;
mod first_calls;
mod full;
mod late_module;
mod missed;
mod packets_alone;
mod preempted;
mod refusals;
mod self_test;
mod settled;
mod several;
mod verifier;
mod waiting;
mod withheld;

use libtest_mimic::Trial;

pub(crate) fn by_hook() -> Vec<Trial> {
    [
        ended::trials(),
        first_calls::trials(),
        late_module::trials(),
        withheld::trials(),
        missed::trials(),
        preempted::trials(),
        self_test::trials(),
        packets_alone::trials(),
        refusals::by_hook(),
        settled::trials(),
        verifier::trials(),
        waiting::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn once() -> Vec<Trial> {
    [several::trials(), full::trials(), refusals::once()]
        .into_iter()
        .flatten()
        .collect()
}

/// What nothing undoes.
pub(crate) fn last() -> Vec<Trial> {
    refusals::last()
}

/// A test that makes traffic among others.
fn trial(name: &'static str, about: &str, run: fn() -> anyhow::Result<()>) -> Trial {
    crate::trial::trial(name, about, move || {
        let _quiet = crate::quiet::among_others();
        run()
    })
}
