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
    let mut trials = vec![first_calls::by_hook(), self_test::by_hook()];
    trials.extend(late_module::trials());
    trials.extend(withheld::by_hook());
    trials.extend(missed::trials());
    trials.extend(preempted::trials());
    trials.extend(refusals::by_hook());
    trials.extend(settled::trials());
    trials.extend(verifier::trials());
    trials.extend(waiting::trials());
    trials
}

pub(crate) fn once() -> Vec<Trial> {
    let mut trials = vec![first_calls::in_table(), self_test::while_forks_hold()];
    trials.extend(ended::trials());
    trials.extend(withheld::once());
    trials.extend(packets_alone::trials());
    trials.extend(several::trials());
    trials.extend(full::trials());
    trials.extend(refusals::once());
    trials
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
