//! `cargo xtask bench hooks`: what each hook adds to a send or receive call, here and on other kernels.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::hook_table::{Line, Table};
use crate::command::{self, progress};
use crate::vm::kernels::{KERNELS, Kernel};
use crate::vm::machine::{Clock, Machine};
use crate::vm::prepared::Prepared;
use crate::{debian, vm, workspace};

const HERE: &str = "here";
const LIMIT: Duration = Duration::from_secs(900);

/// Measure what each hook adds to a send or receive call: here by the clock, on other kernels in instructions
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench hooks                  this host and every kernel of `cargo xtask vm-test`
  cargo xtask bench hooks here             this host, in nanoseconds
  cargo xtask bench hooks 5.10 7.3         these kernels, in instructions

64 bytes over loopback, in one thread, without a collector and with it counting by each hook in
turn. The kernels run in virtual machines whose clock is the number of instructions. That includes
what it takes to get to a program, and hardly varies; it knows no caches and no cost of a trap.
One to three minutes a kernel, half a minute this host, which needs root. Progress goes to stderr,
the table to stdout; logs are left in target/vm.")]
pub(super) struct Hooks {
    /// Where: `here`, or kernels; all of them when nothing is named
    #[arg(value_name = "WHERE", value_parser = PossibleValuesParser::new(names()))]
    places: Vec<String>,
    /// How often everything is measured in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
}

/// Those with hooks that count calls.
fn kernels() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| !kernel.hooks.is_empty())
}

fn names() -> Vec<&'static str> {
    std::iter::once(HERE)
        .chain(kernels().map(|kernel| kernel.name))
        .collect()
}

impl Hooks {
    pub(super) fn run(&self) -> Result<()> {
        let wanted =
            |name: &str| self.places.is_empty() || self.places.iter().any(|one| one == name);
        let mut table = Table::default();
        if wanted(HERE) {
            table.add("this host, ns", &self.here(&vm::bench_here()?)?)?;
        }
        for kernel in kernels().filter(|kernel| wanted(kernel.name)) {
            let (kernel, measure) = vm::bench_on(kernel)?;
            let name = kernel.kernel.name;
            progress(format!("kernel {name} ({})", kernel.release));
            let told = self.on(&kernel, &measure)?;
            table.add(&format!("{name}, instructions"), &told)?;
        }
        print!("{table}");
        Ok(())
    }

    fn here(&self, measure: &Path) -> Result<Vec<Line>> {
        let mut measure = if command::is_root() {
            Command::new(measure)
        } else {
            debian::as_root(&measure.to_string_lossy())?
        };
        let measured = measure
            .arg("calls")
            .arg(self.rounds.to_string())
            .stderr(Stdio::inherit())
            .output()
            .context("could not start what measures")?;
        if !measured.status.success() {
            bail!("this host could not be measured: {}", measured.status);
        }
        let told =
            String::from_utf8(measured.stdout).context("it told something other than UTF-8")?;
        told.lines().map(Line::parse).collect()
    }

    fn on(&self, kernel: &Prepared, measure: &Path) -> Result<Vec<Line>> {
        let machine = Machine {
            kernel,
            name: "hooks".to_owned(),
            program: measure,
            script: include_str!("in_machine"),
            variables: vec![("ROUNDS", self.rounds.to_string())],
            clock: Clock::Instructions,
            folder: &workspace::target()?.join("vm"),
            limit: LIMIT,
        };
        let mut lines = Vec::new();
        let ran = machine.run(|line| {
            progress(format!("{}: {line}", kernel.kernel.name));
            lines.push(Line::parse(line)?);
            Ok(())
        });
        ran.with_context(|| machine.last_words())?;
        match lines.pop() {
            Some(Line::Over { code: 0 }) => Ok(lines),
            _ => bail!(
                "kernel {} could not be measured; {}",
                kernel.kernel.name,
                machine.last_words()
            ),
        }
    }
}
