//! `cargo xtask test`: everything that must hold before a change lands, as steps with names.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::bpf_toolchain::BpfToolchain;
use crate::build_ebpf::{self, BuildEbpf};
use crate::command::{self, progress};
use crate::setup::Setup;
use crate::vm::VmTest;
use crate::{metadata, workspace};

/// The test target that needs root; it has a step of its own.
const LIVE: &str = "live";
/// The kernel programs compile for no host.
const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "netwatch-ebpf"];

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: [Step; 10] = [
    Step {
        name: "setup",
        about: "install what is missing (cargo xtask setup)",
        run: || Setup {}.run(),
    },
    Step {
        name: "fmt",
        about: "formatting",
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "lints, with every feature, with none, with collectors only",
        run: clippy,
    },
    Step {
        name: "clippy-ebpf",
        about: "lints of the kernel programs",
        run: clippy_ebpf,
    },
    Step {
        name: "docs",
        about: "the documentation builds without a warning",
        run: docs,
    },
    Step {
        name: "objects",
        about: "the committed kernel programs are what the source gives (cargo xtask build-ebpf --check)",
        run: || BuildEbpf { check: true }.run(),
    },
    Step {
        name: "unit",
        about: "unit and integration tests",
        run: unit,
    },
    Step {
        name: "doctests",
        about: "the examples in the documentation",
        run: doctests,
    },
    Step {
        name: "live",
        about: "tests against this kernel, as root",
        run: live,
    },
    Step {
        name: "vm",
        about: "the live tests on the oldest kernel, in virtual machines (cargo xtask vm-test --oldest)",
        run: || VmTest::oldest().run(),
    },
];

/// Run everything that must hold before a change lands
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                     everything; stops at the first step that fails
  cargo xtask test --keep-going        everything, whatever fails
  cargo xtask test fmt clippy unit     these steps only
  cargo xtask test --list              what the steps are

The live tests need root: run this as root, or as a user with sudo.")]
pub(crate) struct Test {
    /// The steps to run; all of them when none is named
    #[arg(value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
    /// Go on after a step that failed
    #[arg(long)]
    keep_going: bool,
    /// Print the steps and run none
    #[arg(long)]
    list: bool,
}

enum Outcome {
    Passed,
    Failed,
    NotRun,
}

impl Test {
    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for step in &STEPS {
                println!("{:<12} {}", step.name, step.about);
            }
            return Ok(());
        }
        let started = Instant::now();
        let mut outcomes: Vec<(&Step, Outcome, Duration)> = Vec::new();
        let mut stopped = false;
        for step in STEPS.iter().filter(|step| self.wants(step)) {
            if stopped {
                outcomes.push((step, Outcome::NotRun, Duration::ZERO));
                continue;
            }
            progress(format!("== {}: {}", step.name, step.about));
            let step_started = Instant::now();
            let outcome = match (step.run)() {
                Ok(()) => Outcome::Passed,
                Err(error) => {
                    command::report(&error);
                    stopped = !self.keep_going;
                    Outcome::Failed
                }
            };
            let took = step_started.elapsed();
            progress(format!(
                "== {}: {} in {:.1} s",
                step.name,
                outcome.word(),
                took.as_secs_f64()
            ));
            outcomes.push((step, outcome, took));
        }
        summarise(&outcomes, started.elapsed());
        let failed: Vec<&str> = outcomes
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed))
            .map(|(step, ..)| step.name)
            .collect();
        if !failed.is_empty() {
            bail!(
                "failed: {}; run one alone with `cargo xtask test STEP`",
                failed.join(", ")
            );
        }
        Ok(())
    }

    fn wants(&self, step: &Step) -> bool {
        self.steps.is_empty() || self.steps.iter().any(|name| name == step.name)
    }
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
        }
    }
}

fn summarise(outcomes: &[(&Step, Outcome, Duration)], total: Duration) {
    eprintln!();
    for (step, outcome, took) in outcomes {
        eprintln!(
            "{:<12} {:<8} {:>7.1} s",
            step.name,
            outcome.word(),
            took.as_secs_f64()
        );
    }
    eprintln!("{:<21} {:>7.1} s", "total", total.as_secs_f64());
}

fn fmt() -> Result<()> {
    command::run(workspace::cargo_command()?.args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    command::run(
        workspace::cargo_command()?
            .arg("clippy")
            .args(HOST_PACKAGES)
            .args(["--all-targets", "--all-features"])
            .args(DENY),
    )?;
    for features in [
        &["--no-default-features"][..],
        &["--no-default-features", "--features", "collectors"],
    ] {
        command::run(
            workspace::cargo_command()?
                .args(["clippy", "--package", "netwatch-sdk"])
                .args(features)
                .args(DENY),
        )?;
    }
    Ok(())
}

fn clippy_ebpf() -> Result<()> {
    let toolchain = BpfToolchain::find()?;
    let metadata = metadata::read(false)?;
    for architecture in build_ebpf::ARCHITECTURES {
        command::run(
            toolchain
                .cargo_clippy()?
                .arg("clippy")
                .args(build_ebpf::PROGRAM)
                .args(toolchain.target_arguments())
                .arg("--target-dir")
                .arg(build_ebpf::target_folder(&toolchain, architecture)?)
                .args(["--", "-D", "warnings"])
                .env(
                    "CARGO_ENCODED_RUSTFLAGS",
                    build_ebpf::rust_flags(&toolchain, &metadata, architecture)?,
                ),
        )?;
    }
    Ok(())
}

fn docs() -> Result<()> {
    command::run(
        workspace::cargo_command()?
            .arg("doc")
            .args(HOST_PACKAGES)
            .args(["--no-deps", "--all-features"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Every test target but the live one, by name: cargo has no way to leave one out.
fn unit() -> Result<()> {
    let metadata = metadata::read(false)?;
    let integration_tests = metadata
        .packages
        .iter()
        .filter(|package| package.is_member())
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_integration_test() && target.name != LIVE)
        .flat_map(|target| ["--test", target.name.as_str()]);
    // Tests run the examples as programs; `cargo test` builds those only when it is told
    // of no target.
    command::run(
        workspace::cargo_command()?
            .arg("build")
            .args(HOST_PACKAGES)
            .args(["--all-features", "--examples"]),
    )?;
    command::run(
        workspace::cargo_command()?
            .arg("test")
            .args(HOST_PACKAGES)
            .args(["--all-features", "--lib", "--bins"])
            .args(integration_tests),
    )
}

fn doctests() -> Result<()> {
    command::run(
        workspace::cargo_command()?
            .arg("test")
            .args(HOST_PACKAGES)
            .args(["--all-features", "--doc"]),
    )
}

fn live() -> Result<()> {
    command::run(&mut live_tests()?)
}

/// The live tests, to be given their arguments after `--`: built as this user, run as root.
pub(crate) fn live_tests() -> Result<Command> {
    let mut cargo = workspace::cargo_command()?;
    cargo.args([
        "test",
        "--package",
        "netwatch-sdk",
        "--all-features",
        "--test",
        LIVE,
    ]);
    if !command::is_root() {
        let sudo = command::on_path("sudo").into_iter().next().context(
            "the live tests need root, and there is no sudo here: run `cargo xtask test live` as root",
        )?;
        let runner = format!(
            "target.\"cfg(all())\".runner=[{:?}, \"--preserve-env\"]",
            sudo.display().to_string()
        );
        cargo.args(["--config", &runner]);
    }
    Ok(cargo)
}
