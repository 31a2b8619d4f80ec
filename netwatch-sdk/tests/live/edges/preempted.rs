//! Calls whose program the kernel skips, because another task was preempted inside it.
//!
//! Threads on one CPU send and receive without a pause. Others of a higher priority, which
//! a clock wakes all the time, interrupt them anywhere and do the same.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use aya::programs::loaded_programs;
use libtest_mimic::Trial;
use netwatch_sdk::reading::{Accuracy, Payload};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{child::SHAPE, missed::own};
use crate::{actor::unavailable, director::Running, observe::exact, results, trial::alone};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        alone(
            "preempted-runs",
            "calls whose program is skipped, a task being preempted inside it, are counted all the same",
            || run(Sockets::Open),
        ),
        alone(
            "preempted-closes",
            "and so they are of sockets that close before the next reading",
            || run(Sockets::Closed),
        ),
        alone(
            "preempted-full",
            "and so they are of sockets that a full table has no record of",
            || run(Sockets::WithoutRecord),
        ),
        alone(
            "preempted-short",
            "and so they are of connections that are read from once",
            || run(Sockets::Short),
        ),
        alone(
            "preempted-three-capabilities",
            "without root, what is missed is counted, and payload a lower bound",
            without_root,
        ),
    ]
}

const DURATION: Duration = Duration::from_secs(1);
const ORDINARY: usize = 4;
const HIGHER: usize = 2;
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST: usize = 1000;
/// Programs on calls: what they are skipped for is never missed, with doubles that the kernel
/// does not preempt.
const CALLS: [&str; 4] = ["sock_send_length", "sock_recv_length", "inet_sendmsg", "inet_recvmsg"];

/// Sockets that get what they send.
struct Traffic {
    datagrams: UdpSocket,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
    moved: Payload,
}

impl Traffic {
    fn new() -> Result<Self> {
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.connect(datagrams.local_addr()?)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (client, server) = connection(&listener)?;
        Ok(Self {
            datagrams,
            listener,
            client,
            server,
            moved: Payload::default(),
        })
    }

    /// Until told that it is over; with pauses, if there are any.
    fn run(mut self, sockets: Sockets, pause: Option<Duration>, over: &AtomicBool) -> Result<Self> {
        let mut cpu = CpuSet::new();
        cpu.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpu)?;
        if pause.is_some() {
            take_priority()?;
        }
        let mut message = [0; LONGEST];
        let mut length = 0;
        while !over.load(Ordering::Relaxed) {
            length = length % LONGEST + 1;
            let part = &mut message[..length];
            ensure!(self.datagrams.send(part)? == length, "half a datagram");
            ensure!(self.datagrams.recv(part)? == length, "another datagram");
            self.client.write_all(part)?;
            self.server.read_exact(part)?;
            if sockets == Sockets::Short {
                (self.client, self.server) = connection(&self.listener)?;
            }
            self.moved.tx_bytes += 2 * length as u64;
            self.moved.rx_bytes += 2 * length as u64;
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
        }
        Ok(self)
    }
}

fn connection(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

/// Lets this thread interrupt all ordinary ones.
fn take_priority() -> Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is this thread; the call reads the parameters.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } != 0;
    if failed {
        return Err(unavailable("SCHED_FIFO", io::Error::last_os_error()));
    }
    Ok(())
}

/// All of it at once, and `meanwhile` now and then; the sockets stay open.
fn traffic(sockets: Sockets, mut meanwhile: impl FnMut() -> Result<()>) -> Result<Vec<Traffic>> {
    let over = &AtomicBool::new(false);
    let pauses = [None; ORDINARY].into_iter().chain([Some(PAUSE); HIGHER]);
    let traffic: Result<Vec<_>> = pauses.map(|pause| Ok((Traffic::new()?, pause))).collect();
    let traffic = traffic?;
    thread::scope(|scope| {
        let threads: Vec<_> = traffic
            .into_iter()
            .map(|(traffic, pause)| scope.spawn(move || traffic.run(sockets, pause, over)))
            .collect();
        let start = Instant::now();
        let mut done_meanwhile = Ok(());
        while done_meanwhile.is_ok()
            && start.elapsed() < DURATION
            && !threads.iter().any(ScopedJoinHandle::is_finished)
        {
            thread::sleep(Duration::from_millis(200));
            done_meanwhile = meanwhile();
        }
        over.store(true, Ordering::Relaxed);
        let done: Result<Vec<Traffic>> = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("panicked"))?)
            .collect();
        done_meanwhile?;
        done
    })
}

/// What becomes of the sockets that the calls are made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sockets {
    Open,
    /// They are gone before the reading that counts.
    Closed,
    /// The table has room for few of them.
    WithoutRecord,
    /// Each message over TCP has a connection of its own.
    Short,
}

fn run(sockets: Sockets) -> Result<()> {
    let builder = match sockets {
        Sockets::WithoutRecord => exact()?.in_table().max_sockets(4),
        _ => exact()?,
    };
    let mut reader = builder.start()?.reader();
    let before = own(&reader.read()?);
    let traffic = traffic(sockets, || Ok(reader.read().map(drop)?))?;
    let moved: Vec<Payload> = traffic.iter().map(|part| part.moved).collect();
    let open = (sockets != Sockets::Closed).then_some(traffic);
    let skipped = skipped()?;
    let reading = reader.read()?;
    let after = own(&reading);
    let sum = |of: fn(&Payload) -> u64| moved.iter().map(of).sum::<u64>();
    let off = (
        sum(|moved| moved.tx_bytes).checked_sub(after.tx_bytes - before.tx_bytes),
        sum(|moved| moved.rx_bytes).checked_sub(after.rx_bytes - before.rx_bytes),
    );
    let missed = reading.lost.missed_runs;
    let said = format!("off {off:?}, {missed} runs missed, {skipped:?} skipped");
    let (Some(tx_off), Some(rx_off)) = off else {
        return Err(anyhow!("more was counted than moved: {said}"));
    };
    if sockets == Sockets::WithoutRecord {
        ensure!(reading.lost.untracked_calls > 0, "there was room: {said}");
    }
    let limits = reader.collector().status().limits;
    let can_be_missed = limits.iter().any(|limit| limit.contains("can be preempted itself"));
    // More threads at once in a call than the kernel can probe.
    let untracked = match results::hook().as_str() {
        "kprobe" => reading.lost.untracked_calls,
        _ => 0,
    };
    let most = LONGEST as u64 * if can_be_missed { missed + untracked } else { untracked };
    ensure!(tx_off <= most && rx_off <= most, "{said}, {untracked} untracked: {limits:?}");
    let only_names = untracked == 0
        && (missed == 0 || limits.iter().any(|limit| limit.contains("stays exact")));
    for process in &reading.processes {
        let is_exact = process.accuracy == Accuracy::Exact;
        ensure!(is_exact == only_names, "{said}: {process:?}");
    }
    if missed + untracked == 0 {
        let me = Some(std::process::id());
        let mut open = reading.open.iter();
        let shared = open.find(|row| row.shared && row.owner.map(|owner| owner.pid.0) == me);
        ensure!(shared.is_none(), "{said}: {shared:?}");
    }
    if skipped.is_empty() {
        return Err(unavailable("the kernel skipped no run", said));
    }
    // Other doubles can be skipped, as often as it happens.
    let is_call = |limit: &&String| CALLS.iter().any(|name| limit.contains(name));
    let missed_calls = limits.iter().find(is_call);
    ensure!(can_be_missed || missed_calls.is_none(), "{said}: {missed_calls:?}");
    eprintln!("{said}");
    drop(open);
    Ok(())
}

/// The same with a collector that cannot read tracefs, in another process.
fn without_root() -> Result<()> {
    let mut child = Running::start(&SHAPE, "three-capabilities", &[], None)?;
    if let Some(refused) = child.started()?.refused {
        return Err(anyhow!("{}: {}", refused.kind, refused.message));
    }
    child.paused()?;
    let traffic = traffic(Sockets::Open, || Ok(()))?;
    child.go()?;
    let report = child.reported()?;
    let row = report.rows.iter().find(|row| row.pid == std::process::id());
    let sum = |of: fn(&Payload) -> u64| traffic.iter().map(|part| of(&part.moved)).sum::<u64>();
    let moved = (sum(|moved| moved.tx_bytes), sum(|moved| moved.rx_bytes));
    let row = row.context("no row")?;
    report.check(row, moved)?;
    let most = LONGEST as u64 * (report.missed_runs + report.untracked_calls);
    let off = (moved.0 - row.tx, moved.1 - row.rx);
    ensure!(off.0 <= most && off.1 <= most, "off {off:?}, {} runs missed", report.missed_runs);
    eprintln!("off {off:?}, {} runs missed, {:?}", report.missed_runs, row.accuracy);
    child.done()?;
    child.release()
}

/// How many runs the kernel skipped of the programs that this process holds, by name.
pub(super) fn skipped() -> Result<Vec<(String, u64)>> {
    let mut skipped = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            // Of this directory's own descriptor.
            continue;
        };
        let number = |name: &str| -> Option<u64> {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(found, _)| *found == name)?;
            value.trim().parse().ok()
        };
        let (Some(id), Some(runs @ 1..)) = (number("prog_id"), number("recursion_misses")) else {
            continue;
        };
        let mut programs = loaded_programs().filter_map(Result::ok);
        let program = programs.find(|program| u64::from(program.id()) == id);
        let program = program.context("a program that is not loaded")?;
        skipped.push((program.name_as_str().unwrap_or_default().to_owned(), runs));
    }
    Ok(skipped)
}
