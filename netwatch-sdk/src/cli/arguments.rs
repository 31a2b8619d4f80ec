//! The command line.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use netwatch_sdk::{Backend, Collector, Hook, event::Topic};

/// Which process moved how many bytes, exactly.
#[derive(Debug, Parser)]
#[command(
    name = "netwatch-collector",
    version,
    after_help = "Examples:
  netwatch-collector snapshot                     what moved within one second
  netwatch-collector watch --interval 5s          a line of JSON every five seconds
  netwatch-collector watch --count 3 | jq .processes
  netwatch-collector events                       connections and DNS messages as they happen
  netwatch-collector doctor                       what this host offers and lacks

Exact figures need CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root.
Exit codes: 0 done, 1 failed while running, 2 wrong usage, 3 the backend cannot run here.
Log lines go to stderr; NETWATCH_LOG=debug asks for more of them."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what moved within one interval as one JSON snapshot
    Snapshot(Sampling),
    /// Print a JSON snapshot a line, one each interval, until interrupted
    Watch(Watch),
    /// Print connections as they open, fail and close, and DNS messages, an event a line, until
    /// interrupted
    Events(Events),
    /// Say what this host offers and lacks, and which backend would run
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub(crate) struct Sampling {
    /// Time between two readings: 500ms, 1s, 2m, or seconds
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// How to measure
    #[arg(long, default_value = "auto", value_parser = backends())]
    backend: Backend,
    /// Count payload by this hook of the kernel or not at all
    #[arg(long, value_parser = hooks(), conflicts_with = "backend")]
    hook: Option<Hook>,
    /// Detect nothing, and look at no DNS message
    #[arg(long)]
    no_detectors: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Stop after this many snapshots
    #[arg(long)]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netwatch-collector events
  netwatch-collector events --json | jq 'select(.event == \"closed\")'
  netwatch-collector events --only dns
  netwatch-collector events --json --count 1000 | jq -r .process_name | sort | uniq -c

A line is: time (UTC), event, process[pid], protocol, local address, direction, remote
address, and what is known. docs/events.md describes the events and the fields of JSON.
Needs the kernel programs: netwatch-collector doctor says whether they run here.")]
pub(crate) struct Events {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Only events about this; may be given several times, all of them by default
    #[arg(long, value_name = "TOPIC", value_parser = topics())]
    pub(crate) only: Vec<Topic>,
    /// Stop after this many events
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Kernel memory for events that were not printed yet; more of it when some are lost
    #[arg(long, value_name = "MIB", default_value_t = 4)]
    pub(crate) buffer_mib: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The names of [`Backend::ALL`], and `auto`.
fn backends() -> impl TypedValueParser<Value = Backend> {
    let names = ["auto"]
        .into_iter()
        .chain(Backend::ALL.iter().map(|(name, _)| *name));
    PossibleValuesParser::new(names).map(|name| {
        let named = Backend::ALL.iter().find(|(known, _)| *known == name);
        named.map_or(Backend::Auto, |(_, backend)| *backend)
    })
}

/// The names of [`Topic::ALL`].
fn topics() -> impl TypedValueParser<Value = Topic> {
    let names = Topic::ALL.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|name| {
        let named = Topic::ALL.iter().find(|(known, _)| *known == name);
        named.map(|(_, topic)| *topic).ok_or("no such topic")
    })
}

/// The names of [`Hook::ALL`].
fn hooks() -> impl TypedValueParser<Value = Hook> {
    let names = Hook::ALL.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|name| {
        let named = Hook::ALL.iter().find(|(known, _)| *known == name);
        named.map(|(_, hook)| *hook).ok_or("no such hook")
    })
}

/// The collector cannot run here.
#[derive(Debug)]
pub(crate) struct CannotRun;

impl std::fmt::Display for CannotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot measure here")
    }
}

impl Sampling {
    /// Starts the collector; says on stderr what a better one would need.
    pub(crate) fn start(&self) -> anyhow::Result<Collector> {
        let mut builder = Collector::builder().backend(self.backend);
        if let Some(hook) = self.hook {
            builder = builder.hook(hook);
        }
        if self.no_detectors {
            builder = builder.without_detectors();
        }
        let collector = builder.start().context(CannotRun)?;
        if let Some(refusal) = collector.status().refused.first() {
            eprintln!(
                "netwatch-collector: figures are not the best possible: {}: {}",
                refusal.what, refusal.why
            );
        }
        Ok(collector)
    }
}

/// 3 when the backend cannot run here, else 1.
pub(crate) fn exit_code(failure: &anyhow::Error) -> ExitCode {
    let cannot_run = failure.downcast_ref::<CannotRun>().is_some();
    ExitCode::from(if cannot_run { 3 } else { 1 })
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a time such as 500ms, 1s, 2m".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a time such as 500ms, 1s, 2m".to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    let (shortest, longest) = (Duration::from_millis(10), Duration::from_secs(86_400));
    if (shortest..=longest).contains(&time) {
        Ok(time)
    } else {
        Err("expected a time from 10ms to 24h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "1x", "-1s", "0", "1e99s", "25h", "..s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
