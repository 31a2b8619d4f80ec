//! What the kernel's verifier said of each program that a collector loads.

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use libtest_mimic::Trial;
use serde_json::json;

use super::ended::{Kind, running};
use crate::results;

pub(super) fn trials() -> Vec<Trial> {
    vec![super::trial(
        "verifier",
        "the kernel accepts every program, and has looked at each instruction",
        run,
    )]
}

fn run() -> Result<()> {
    let (mut child, objects) = running("drive")?;
    let of_child = |id: u32| {
        let mut programs = objects.iter().filter(|one| one.kind == Kind::Program);
        programs.any(|one| one.id == id)
    };
    let mut seen = 0;
    for program in loaded_programs() {
        // Others' programs come and go meanwhile.
        let Ok(program) = program else { continue };
        if !of_child(program.id()) {
            continue;
        }
        seen += 1;
        let name = program.name_as_str().context("a program without a name")?;
        let verified = program.verified_instruction_count();
        ensure!(
            verified.is_none_or(|count| count > 1),
            "{name}: {verified:?} instructions verified"
        );
        results::note(json!({
            "program": name,
            "hook": results::hook(),
            "verified": verified,
            // Eight bytes each.
            "translated": program.size_translated().map(|bytes| bytes / 8),
        }))?;
    }
    ensure!(seen > 4, "only {seen} programs");
    child.go()?;
    child.reported()?;
    child.done()?;
    child.release()
}
