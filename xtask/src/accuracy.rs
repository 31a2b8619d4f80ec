//! `cargo xtask accuracy`: measures every traffic shape by every backend and renews the table in the docs.

use std::fs;

use anyhow::{Context, Result};
use clap::Args;

use crate::command::{self, progress};
use crate::{test, workspace};

const PAGE: &str = "docs/accuracy.md";
const BEGIN: &str = "<!-- by cargo xtask accuracy -->\n";
const END: &str = "<!-- end -->";

/// Measure every traffic shape by every backend, and renew the table in docs/accuracy.md
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask accuracy    as root, or as a user with sudo; about a minute

Uses this kernel and this `ss`, which the table names. It stops at a figure that is not what it was called.")]
pub(crate) struct Accuracy {}

impl Accuracy {
    pub(crate) fn run(&self) -> Result<()> {
        let path = workspace::root()?.join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
        let marks = || format!("{PAGE} has no {BEGIN:?} with an {END:?} after it");
        let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
        let (_, after) = rest.split_once(END).with_context(marks)?;
        let table = command::output(test::live_tests()?.args(["--", "accuracy"]))?;
        fs::write(&path, format!("{before}{BEGIN}\n{table}\n{END}{after}"))
            .with_context(|| format!("cannot write {PAGE}"))?;
        progress(format!("renewed the table in {PAGE}"));
        Ok(())
    }
}
