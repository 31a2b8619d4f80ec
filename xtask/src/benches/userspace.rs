//! The backends that need no kernel program, beside the tool and beside parsing its output.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    clock,
    dump::Dump,
    holders::Holders,
    progress,
    reading::{Kind, Process},
    rounds::{self, Spread},
    table::{Row, Target},
};

const MANY: usize = 10_000;
/// A busy host of usual size.
const SOME: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(1);

/// As long as the kernel keeps a socket in TIME-WAIT.
const TIME_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn read(rounds: u16) -> Result<Vec<Row>> {
    settle()?;
    let mut rows = times(rounds)?;
    rows.extend(snapshots(rounds)?);
    Ok(rows)
}

/// Waits until what was measured before has left TIME-WAIT: those sockets are listed too.
fn settle() -> Result<()> {
    let began = Instant::now();
    loop {
        let sockstat = fs::read_to_string("/proc/net/sockstat")?;
        let mut words = sockstat.split_whitespace().skip_while(|&word| word != "tw");
        let waiting: usize = words.nth(1).context("no TIME-WAIT in sockstat")?.parse()?;
        if waiting < SOME / 10 || began.elapsed() > TIME_WAIT + INTERVAL {
            return Ok(());
        }
        progress(&format!("{waiting} sockets are in TIME-WAIT; waiting"));
        thread::sleep(10 * INTERVAL);
    }
}

fn times(rounds: u16) -> Result<Vec<Row>> {
    let _holders = Holders::start(MANY)?;
    let mut processes = ["sock_diag", "ss"].map(Process::with);
    let [sock_diag, ss] = &mut processes;
    let read = |process: &mut Result<Process>| {
        let process = process
            .as_mut()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let cost = process.read(Kind::Typed)?;
        ensure!(cost.sockets >= MANY, "sockets are missing");
        Ok(cost.elapsed.as_secs_f64() * 1e3)
    };
    read(sock_diag)?;
    read(ss)?;
    progress("reading");
    let mut by_sock_diag = || read(sock_diag);
    let mut dump = Dump::open()?;
    let mut alone = || {
        let (time, sockets) = dump.run()?;
        ensure!(sockets >= MANY, "sockets are missing");
        Ok(time)
    };
    let measured = rounds::turns(
        rounds,
        [&mut tool, &mut parsed, &mut by_sock_diag, &mut alone],
    )?;
    let by_ss = (0..rounds)
        .map(|_| read(ss))
        .collect::<Result<Vec<f64>>>()?;
    let column = |part: fn(&[f64; 4]) -> f64| Spread::of(measured.iter().map(part));
    let what = |what: &str| format!("{MANY} sockets, {what}");
    let target = Target::AtLeast(10.0);
    Ok(vec![
        Row::new(what("`ss -tunapi`"), "ms", column(|[tool, ..]| *tool)?),
        Row::new(
            what("`ss -tunapi` and splitting its lines into words"),
            "ms",
            column(|[_, parsed, ..]| *parsed)?,
        ),
        Row::new(what("`Reader::read()` by `ss`"), "ms", Spread::of(by_ss)?),
        Row::new(
            what("`Reader::read()` by `sock_diag`"),
            "ms",
            column(|[_, _, diag, _]| *diag)?,
        ),
        Row::new(
            what("the kernel's list of them alone, thrown away"),
            "ms",
            column(|[.., alone]| *alone)?,
        ),
        Row::new(
            what("the list alone times faster than `ss -tunapi`: the limit"),
            "",
            column(|[tool, .., alone]| tool / alone)?,
        ),
        Row::new(
            what("`sock_diag` times faster than `ss -tunapi`"),
            "",
            column(|[tool, _, diag, _]| tool / diag)?,
        )
        .target(target),
        Row::new(
            what("`sock_diag` times faster than that and splitting"),
            "",
            column(|[_, parsed, diag, _]| parsed / diag)?,
        )
        .target(target),
    ])
}

/// CPU time of a whole snapshot each second.
fn snapshots(rounds: u16) -> Result<Vec<Row>> {
    let _holders = Holders::start(SOME)?;
    let mut processes = Vec::new();
    for backend in ["ebpf", "sock_diag", "ss", "estimate"] {
        let mut process = Process::with(backend)?;
        process.read(Kind::Json)?;
        processes.push((backend, process, Vec::new()));
    }
    progress("a snapshot a second");
    for _ in 0..rounds {
        for (_, process, costs) in &mut processes {
            thread::sleep(INTERVAL / 4);
            costs.push(process.read(Kind::Json)?.cpu.as_secs_f64() * 1e3);
        }
    }
    let alone = (0..rounds).map(|_| {
        let used = clock::with_children()?;
        tool()?;
        Ok((clock::with_children()?.saturating_sub(used)).as_secs_f64() * 1e3)
    });
    let alone: Vec<f64> = alone.collect::<Result<_>>()?;
    let mut rows = vec![Row::new(
        format!("{SOME} sockets, CPU time of `ss -tunapi` alone: the limit of `ss`"),
        "ms",
        Spread::of(alone)?,
    )];
    for (backend, _, costs) in processes {
        let what = format!(
            "{SOME} sockets, CPU time of a snapshot as JSON by `{backend}`, children included"
        );
        let row = Row::new(what, "ms", Spread::of(costs)?);
        rows.push(row.target(Target::AtMost(10.0)));
    }
    Ok(rows)
}

/// Milliseconds that the tool takes; its output is thrown away.
fn tool() -> Result<f64> {
    let began = Instant::now();
    let status = ss().stdout(Stdio::null()).status().context(MISSING)?;
    ensure!(status.success(), "`ss -tunapi` failed");
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// The least that reading its output can cost: text, lines and words, as 0.4.1 did and more.
fn parsed() -> Result<f64> {
    let began = Instant::now();
    let output = ss().output().context(MISSING)?;
    ensure!(output.status.success(), "`ss -tunapi` failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<String>> = text
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    ensure!(rows.len() >= MANY, "sockets are missing");
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

const MISSING: &str = "`ss` cannot be run; `cargo xtask setup` installs it";

fn ss() -> Command {
    let mut command = Command::new("ss");
    command.arg("-tunapi").stdin(Stdio::null());
    command
}
