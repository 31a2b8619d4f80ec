//! `cargo xtask fuzz`: the fuzz targets of the parsers, each for a bounded time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{self, progress};
use crate::workspace;

const CARGO_FUZZ: &str = "0.13.2";

/// Fuzz the parsers, each for a bounded time
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz                     every target, 20 seconds each
  cargo xtask fuzz ss dns --seconds 300
  cargo xtask fuzz --list              what the targets are

Installs cargo-fuzz when it is missing. A target starts from its seeds (netwatch-sdk/fuzz/seeds and the fixtures) and from
what earlier runs found (fuzz/corpus). What makes one fail is kept in fuzz/artifacts; run it again with
`RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none TARGET FILE` in netwatch-sdk.")]
pub(crate) struct Fuzz {
    /// The targets to run; all of them when none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long to run each
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Print the targets and run none
    #[arg(long)]
    list: bool,
}

impl Fuzz {
    pub(crate) fn run(&self) -> Result<()> {
        let sdk = workspace::root()?.join("netwatch-sdk");
        let known = targets(&sdk.join("fuzz/fuzz_targets"))?;
        if self.list {
            known.iter().for_each(|target| println!("{target}"));
            return Ok(());
        }
        if let Some(unknown) = self.targets.iter().find(|name| !known.contains(name)) {
            bail!("there is no target {unknown}: {}", known.join(", "));
        }
        cargo_fuzz()?;
        command::run(fuzz_command(&sdk).args(["build", "--sanitizer", "none"]))?;
        let mut failed = Vec::new();
        for target in known
            .iter()
            .filter(|name| self.targets.is_empty() || self.targets.contains(name))
        {
            progress(format!("== {target}"));
            if let Err(error) = self.fuzz(&sdk, target) {
                command::report(&error);
                failed.push(target.as_str());
            }
        }
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }

    fn fuzz(&self, sdk: &Path, target: &str) -> Result<()> {
        let corpus = sdk.join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        command::run(
            fuzz_command(sdk)
                .args(["run", "--sanitizer", "none", target])
                .arg(corpus)
                .args(seeds(sdk, target))
                .args(["--", "-timeout=5", "-verbosity=0", "-print_final_stats=1"])
                .arg(format!("-max_total_time={}", self.seconds)),
        )
    }
}

/// `cargo fuzz`, which passes options of the nightly compiler. The parsers hold no unsafe code
/// for a sanitizer to watch.
fn fuzz_command(sdk: &Path) -> Command {
    let mut command = Command::new(workspace::cargo());
    command
        .current_dir(sdk)
        .env("RUSTC_BOOTSTRAP", "1")
        .arg("fuzz");
    command
}

/// The names of the targets' files.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Folders with inputs to start from. Fixtures are named after the tool, and a tool may have
/// several targets: `netstat_routes`.
fn seeds(sdk: &Path, target: &str) -> Vec<PathBuf> {
    let tool = target.split('_').next().unwrap_or(target);
    let fixtures = sdk.join("tests/fixtures");
    [sdk.join("fuzz/seeds").join(target), fixtures.join(tool)]
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect()
}

fn cargo_fuzz() -> Result<()> {
    let mut version = Command::new(workspace::cargo());
    if command::output(version.args(["fuzz", "--version"])).is_ok() {
        return Ok(());
    }
    progress(format!("building cargo-fuzz {CARGO_FUZZ}, about a minute"));
    command::run(
        Command::new(workspace::cargo())
            .args(["install", "cargo-fuzz", "--version", CARGO_FUZZ])
            .arg("--locked"),
    )
}
