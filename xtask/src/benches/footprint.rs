//! What a running collector takes of the machine: memory, CPU time, time to start.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result};

use crate::{
    collector::Running,
    holders::Holders,
    progress,
    reading::{Kind, Process},
    rounds::Spread,
    table::{Row, Target},
};

const SOCKETS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(1);

/// Megabytes in `/proc/PID/status`.
fn megabytes(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| {
            let value = line.strip_prefix(field)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        })
        .with_context(|| format!("no {field} in /proc/{pid}/status"))?;
    Ok(kilobytes * 1024.0 / 1e6)
}

pub(crate) fn memory(collector: &Path) -> Result<Vec<Row>> {
    let _holders = Holders::start(SOCKETS)?;
    let mut process = Process::start()?;
    let (mut typed, mut command) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        process.read(Kind::Typed)?;
        typed.push(megabytes(process.pid(), "VmRSS")?);
    }
    drop(process);
    let running = Running::start(collector)?;
    progress("watching");
    for _ in 0..10 {
        thread::sleep(INTERVAL * 7 / 10);
        command.push(megabytes(running.pid(), "VmRSS")?);
    }
    let peak = megabytes(running.pid(), "VmHWM")?;
    Ok(vec![
        Row::new(
            format!("{SOCKETS} sockets, resident, `netwatch-collector watch`"),
            "MB",
            Spread::of(command)?,
        )
        .target(Target::AtMost(20.0)),
        Row::new(
            format!("{SOCKETS} sockets, resident at most, `netwatch-collector watch`"),
            "MB",
            Spread::of([peak])?,
        ),
        Row::new(
            format!("{SOCKETS} sockets, resident, `Reader::read()` only"),
            "MB",
            Spread::of(typed)?,
        ),
    ])
}

/// CPU time of all threads of a process, in user space and in the kernel.
fn used(pid: u32) -> Result<Duration> {
    let mut used = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let on_a_processor = text.split(' ').next().context("an empty schedstat")?;
        used += Duration::from_nanos(on_a_processor.parse()?);
    }
    Ok(used)
}

/// What the command uses from one second to the next.
fn watching(rounds: u16, collector: &Path) -> Result<Row> {
    let running = Running::start(collector)?;
    thread::sleep(INTERVAL * 7 / 2);
    progress("watching");
    let mut costs = Vec::new();
    let mut before = used(running.pid())?;
    for _ in 0..rounds {
        thread::sleep(INTERVAL);
        let now = used(running.pid())?;
        costs.push(now.saturating_sub(before).as_secs_f64() * 1e3);
        before = now;
    }
    let what = format!(
        "{SOCKETS} idle sockets, CPU time a second of `netwatch-collector watch`, into a pipe"
    );
    Ok(Row::new(what, "ms", Spread::of(costs)?).target(Target::AtMost(10.0)))
}

pub(crate) fn cpu(rounds: u16, collector: &Path) -> Result<Vec<Row>> {
    let kinds = [
        (Kind::Typed, "Reader::read()"),
        (Kind::Network, "Reader::network()"),
        (Kind::Snapshot, "Reader::snapshot()"),
        (
            Kind::Json,
            "Reader::snapshot()` and of writing it as JSON, `serde_json::to_writer()",
        ),
    ];
    let _holders = Holders::start(SOCKETS)?;
    // A process each: what one kind leaves in memory is no help to another.
    let mut processes = Vec::new();
    for (kind, name) in kinds {
        let mut process = Process::start()?;
        process.read(kind)?;
        processes.push((kind, name, process, Vec::new()));
    }
    progress("reading once a second");
    for _ in 0..rounds {
        for (kind, _, process, costs) in &mut processes {
            thread::sleep(INTERVAL / 4);
            costs.push(process.read(*kind)?.cpu.as_secs_f64() * 1e3);
        }
    }
    let mut rows = Vec::new();
    for (_, name, process, costs) in processes {
        drop(process);
        let what = format!("{SOCKETS} idle sockets, CPU time of `{name}`");
        rows.push(Row::new(what, "ms", Spread::of(costs)?).target(Target::AtMost(10.0)));
    }
    rows.push(watching(rounds, collector)?);
    Ok(rows)
}

pub(crate) fn start(rounds: u16) -> Result<Vec<Row>> {
    let mut costs = Vec::new();
    for _ in 0..rounds {
        costs.push(Process::start()?.start);
    }
    let spread = |part: fn(&crate::reading::Cost) -> Duration| {
        Spread::of(costs.iter().map(|cost| part(cost).as_secs_f64() * 1e3))
    };
    Ok(vec![
        Row::new(
            "from `Collector::start()` to the first exact reading",
            "ms",
            spread(|cost| cost.elapsed)?,
        )
        .target(Target::AtMost(150.0)),
        Row::new(
            "CPU time from `Collector::start()` to the first exact reading",
            "ms",
            spread(|cost| cost.cpu)?,
        ),
    ])
}
