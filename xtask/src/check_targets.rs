//! `cargo xtask check-targets`: type checks and lints for the targets this machine is not.

use anyhow::{Result, bail};
use clap::Args;

use crate::command::{self, progress};
use crate::cross_toolchain::Toolchain;

const TARGETS: [&str; 4] = [
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "aarch64-unknown-linux-gnu",
];
/// The tests are written for every feature, so fewer of them check the library and the command only.
const SELECTIONS: [&[&str]; 3] = [
    &["--all-targets", "--all-features"],
    &[
        "--lib",
        "--bins",
        "--no-default-features",
        "--features",
        "collectors",
    ],
    &["--lib", "--bins", "--no-default-features"],
];
/// Windows has the types and empty collectors; the tests are about hosts that have more.
const WINDOWS: &[&str] = &["--lib", "--bins", "--all-features"];

/// Type-check and lint for macOS, Windows and arm64 Linux, without those machines
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask check-targets                        all of them
  cargo xtask check-targets aarch64-apple-darwin   one

A target that the Rust in use has (`rustup target add …`) is checked with it. For the others, on Debian 12,
Debian's compiler and library source are unpacked into the user's cache folder (about 430 MB) and the library's
metadata is built there, once; for arm64 Linux it is Debian's library (153 MB). Nothing is linked, nothing is run.")]
pub(crate) struct CheckTargets {
    /// Target triples; the four supported ones when none is named
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
}

impl CheckTargets {
    pub(crate) fn run(&self) -> Result<()> {
        let all = TARGETS.map(str::to_owned);
        let targets: &[String] = if self.targets.is_empty() {
            &all
        } else {
            &self.targets
        };
        let mut failed = Vec::new();
        for target in targets {
            if let Err(error) = check(target) {
                command::report(&error);
                failed.push(target.as_str());
            }
        }
        if !failed.is_empty() {
            bail!("failed for {}", failed.join(", "));
        }
        Ok(())
    }
}

fn check(target: &str) -> Result<()> {
    progress(format!("checking {target}"));
    let toolchain = Toolchain::for_target(target)?;
    for selection in SELECTIONS {
        let on_windows = target.contains("windows") && selection.contains(&"--all-targets");
        command::run(
            toolchain
                .cargo_clippy()?
                .args(["--package", "netwatch-sdk", "--target", target])
                .args(if on_windows { WINDOWS } else { selection })
                .args(["--", "-D", "warnings"]),
        )?;
    }
    Ok(())
}
