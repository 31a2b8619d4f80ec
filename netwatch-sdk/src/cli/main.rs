//! The command `netwatch-collector`: the SDK's public API on the command line.

mod arguments;
mod doctor;
mod events;
mod output;
mod row;
mod snapshot;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::{Arguments, Command};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter("NETWATCH_LOG")).init();
    let Arguments { command } = Arguments::parse();
    let done = match &command {
        Command::Snapshot(options) => snapshot::run(options),
        Command::Watch(options) => watch::run(options),
        Command::Events(options) => events::run(options),
        Command::Doctor(options) => doctor::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if output::is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("netwatch-collector: {failure:#}");
            arguments::exit_code(&failure)
        }
    }
}
