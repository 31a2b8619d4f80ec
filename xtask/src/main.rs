//! The repository's tasks: `cargo xtask --help`. One file per task, one variant each.

mod bpf_object;
mod bpf_toolchain;
mod build_ebpf;
mod command;
mod debian;
mod metadata;
mod setup;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// netwatch's tasks. Each does nothing twice; progress goes to stderr.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    BuildEbpf(build_ebpf::BuildEbpf),
    Setup(setup::Setup),
}

fn main() -> ExitCode {
    match run(Xtask::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for cause in error.chain() {
                command::progress(format!("error: {cause}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::BuildEbpf(task) => task.run(),
        Task::Setup(task) => task.run(),
    }
}
