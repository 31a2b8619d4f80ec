//! The repository's tasks: `cargo xtask --help`. One file per task, one variant each.

mod accuracy;
mod archive;
mod bench;
mod bpf_object;
mod bpf_toolchain;
mod build_ebpf;
mod check_targets;
mod command;
mod cross_toolchain;
mod debian;
mod fuzz;
mod metadata;
mod notes;
mod setup;
mod test;
mod vm;
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
    Accuracy(accuracy::Accuracy),
    Bench(bench::Bench),
    BuildEbpf(build_ebpf::BuildEbpf),
    CheckTargets(check_targets::CheckTargets),
    Fuzz(fuzz::Fuzz),
    Setup(setup::Setup),
    Test(test::Test),
    VmTest(vm::VmTest),
}

fn main() -> ExitCode {
    match run(Xtask::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Accuracy(task) => task.run(),
        Task::Bench(task) => task.run(),
        Task::BuildEbpf(task) => task.run(),
        Task::CheckTargets(task) => task.run(),
        Task::Fuzz(task) => task.run(),
        Task::Setup(task) => task.run(),
        Task::Test(task) => task.run(),
        Task::VmTest(task) => task.run(),
    }
}
