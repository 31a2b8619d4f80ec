//! `cargo xtask bench`: builds the command and the measuring program (`benches`) in release, and runs the latter.

mod hook_table;
mod hooks;

use std::process::Command;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::{command, debian, workspace};

const NAMES: [&str; 10] = [
    "throughput",
    "requests",
    "connections",
    "dns",
    "programs",
    "sockets",
    "memory",
    "cpu",
    "start",
    "userspace",
];

/// Measure what the collector costs, beside the same without it
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
What is measured:
  throughput  loopback TCP bytes a second, without and with the collector
  requests    64-byte requests and responses a second, without and with it
  connections TCP connections a second, without and with it, and with a subscriber of events
  dns         CPU time of a DNS message, without and with it and its detectors
  programs    nanoseconds of each kernel program less those of an empty one on the same hook
  sockets     reading 10,000 and 50,000 sockets, and `ss -tunapi`
  memory      resident memory at 10,000 sockets
  cpu         CPU time of a reading each second at 10,000 idle sockets
  start       from nothing to the first exact reading
  userspace   reading 10,000 sockets by sock_diag, `ss` and parsing `ss`; CPU time of a snapshot at 1,000

Examples:
  cargo xtask bench                        everything, about four minutes on an idle machine
  cargo xtask bench programs cpu           these two
  cargo xtask bench --json > bench.json    for machines
  cargo xtask bench requests --rounds 31   more rounds where the machine is noisy
  cargo xtask bench hooks                  what each hook adds to a call, on other kernels too

Both sides of a comparison run in turn, in short rounds; a result is the median of the rounds' ratios or
differences, with the smallest and the largest. Needs root. Progress goes to stderr, the table to stdout."
)]
pub(crate) struct Bench {
    #[command(subcommand)]
    apart: Option<Apart>,
    /// What to measure; everything when nothing is named
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    names: Vec<String>,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(3..=1000))]
    rounds: u16,
    /// Write JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is measured apart from the rest.
#[derive(Subcommand)]
enum Apart {
    Hooks(hooks::Hooks),
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        if !cfg!(target_os = "linux") {
            bail!("the kernel programs run on Linux only");
        }
        if let Some(Apart::Hooks(hooks)) = &self.apart {
            return hooks.run();
        }
        let target = workspace::target()?;
        command::run(
            workspace::cargo_command()?
                .args(["build", "--release", "--target-dir"])
                .arg(&target)
                .args(["--package", "xtask", "--bin", "xtask-bench"])
                .args(["--package", "netwatch-sdk", "--bin", "netwatch-collector"])
                .args(["--features", "xtask/bench,netwatch-sdk/cli"]),
        )?;
        let programs = target.join("release");
        let measure = programs.join("xtask-bench");
        let mut measure = if command::is_root() {
            Command::new(measure)
        } else {
            debian::as_root(&measure.to_string_lossy())?
        };
        measure
            .arg("measure")
            .arg("--collector")
            .arg(programs.join("netwatch-collector"))
            .arg("--rounds")
            .arg(self.rounds.to_string());
        if self.json {
            measure.arg("--json");
        }
        let all = NAMES.map(str::to_owned);
        command::run(measure.args(if self.names.is_empty() {
            &all[..]
        } else {
            &self.names
        }))
    }
}
