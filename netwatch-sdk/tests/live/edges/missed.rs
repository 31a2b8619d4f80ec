//! Runs of a program that the kernel skips cost no bytes: the program's double makes up
//! for them. What it cannot make up for is counted and named.
//!
//! Packets of loopback are handed to other CPUs (RPS), whose softirqs then fall into the
//! program that runs there for a task that connects.
//!
//! The same flood makes connections while readings search for owners.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Reader,
    reading::{Accuracy, Attribution, Payload, Reading},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::{setsockopt, sockopt::Linger},
};

use super::preempted;
use crate::{
    actor::unavailable, namespace::Namespace, observe::exact, results, trial::alone,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        alone(
            "missed-runs",
            "runs of a program that the kernel skips cost no payload, and what cannot be made up for is counted and named",
            run,
        ),
        alone(
            "searched-owners",
            "connections made while owners of others are searched for are exact",
            while_searching,
        ),
    ]
}

/// Runs are skipped within a second, where the kernel skips any.
const PATIENCE: Duration = Duration::from_secs(8);
const REQUEST: usize = 100;

/// A flood of short connections, until told that it is over; then nobody asks any more
/// and, after that, nobody serves.
#[derive(Default)]
struct Flood {
    over: AtomicBool,
    unasked: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Flood {
    fn serve(&self, listener: &TcpListener) {
        while !self.unasked.load(Ordering::Relaxed) {
            if let Ok((mut stream, _)) = listener.accept()
                && stream.read_exact(&mut [0; REQUEST]).is_ok()
            {
                self.received.fetch_add(REQUEST as u64, Ordering::Relaxed);
            }
        }
    }

    fn ask(&self, server: SocketAddr) -> io::Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(server)?;
            stream.write_all(&[0; REQUEST])?;
            self.sent.fetch_add(REQUEST as u64, Ordering::Relaxed);
            // The server's end is the first to close.
            stream.read_to_end(&mut Vec::new())?;
            // A reset leaves no TIME-WAIT, and ports for the next.
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, Linger, &at_once)?;
        }
        Ok(())
    }

    /// Lets it run as long as something else, and to its end.
    fn beside<T>(&self, meanwhile: impl FnOnce() -> Result<T>) -> Result<T> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let server = listener.local_addr()?;
        thread::scope(|scope| {
            let serving = [(); 2].map(|()| scope.spawn(|| self.serve(&listener)));
            let asking = [(); 2].map(|()| scope.spawn(|| self.ask(server)));
            let done = meanwhile();
            self.over.store(true, Ordering::Relaxed);
            let mut asked = Vec::new();
            for asking in asking {
                asked.push(asking.join());
            }
            self.unasked.store(true, Ordering::Relaxed);
            while !serving.iter().all(thread::ScopedJoinHandle::is_finished) {
                // Some wait in `accept`.
                drop(TcpStream::connect(server));
                thread::sleep(Duration::from_millis(10));
            }
            for asked in asked {
                asked.map_err(|_| anyhow!("panicked"))?.context("ask")?;
            }
            done
        })
    }

    /// What it moved since `before`, which has to be everything if that is said to be exact.
    fn check(self, before: Payload, reading: &Reading, is_exact: bool) -> Result<()> {
        let (sent, received) = (self.sent.into_inner(), self.received.into_inner());
        let after = own(reading);
        let counted = Payload {
            rx_bytes: after.rx_bytes - before.rx_bytes,
            tx_bytes: after.tx_bytes - before.tx_bytes,
        };
        ensure!(
            counted.rx_bytes <= received && counted.tx_bytes <= sent,
            "{counted:?} of {sent} sent and {received} received"
        );
        ensure!(
            !is_exact || (counted.rx_bytes, counted.tx_bytes) == (received, sent),
            "{counted:?} of {sent} sent and {received} received"
        );
        Ok(())
    }
}

fn run() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut reader = exact()?.start()?.reader();
    let before = own(&reader.read()?);
    let flood = Flood::default();
    let skipped = namespace.enter(|| {
        steer_packets()?;
        flood.beside(|| until_skipped(&mut reader))
    })?;
    let reading = reader.read()?;
    let missed = reading.lost.missed_runs;
    let status = reader.collector().status();
    let limit = status.limits.iter().find(|limit| limit.contains("skipped"));
    ensure!(limit.is_some() == (missed > 0), "{missed}: {status:?}");
    let is_exact = limit.is_none_or(|limit| limit.contains("payload stays exact"));
    for process in &reading.processes {
        let as_said = (process.accuracy == Accuracy::Exact) == is_exact;
        ensure!(as_said, "{limit:?}: {process:?}");
    }
    flood
        .check(before, &reading, is_exact)
        .with_context(|| format!("{skipped} runs skipped: {limit:?}"))?;
    if results::hook() != "kprobe" {
        ensure!(missed < skipped, "{missed} of {skipped} runs were not made up for");
    }
    Ok(())
}

/// Accepted connections that nobody has used yet have no owner: each reading searches.
fn while_searching() -> Result<()> {
    const DURATION: Duration = Duration::from_secs(2);
    let mut reader = exact()?.start()?.reader();
    let before = own(&reader.read()?);
    let flood = Flood::default();
    flood.beside(|| {
        let start = Instant::now();
        while start.elapsed() < DURATION {
            reader.read()?;
        }
        Ok(())
    })?;
    let reading = reader.read()?;
    let is_exact = reading
        .processes
        .iter()
        .all(|process| process.accuracy == Accuracy::Exact);
    flood.check(before, &reading, is_exact)
}

/// What this process has moved.
pub(super) fn own(reading: &Reading) -> Payload {
    let is_own = |id| matches!(id, Attribution::Process(id) if id.pid.0 == std::process::id());
    let row = reading.processes.iter().find(|row| is_own(row.id));
    row.map(|row| row.payload).unwrap_or_default()
}

/// Makes every CPU take packets of loopback, in this thread's network namespace.
fn steer_packets() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
    let cpus = thread::available_parallelism()?.get();
    let mask = (1u64 << cpus.min(32)) - 1;
    fs::write("/sys/class/net/lo/queues/rx-0/rps_cpus", format!("{mask:x}"))
        .map_err(|error| unavailable("packets cannot be steered", error))
}

/// Reads on until the kernel has skipped runs; how many.
fn until_skipped(reader: &mut Reader) -> Result<u64> {
    let (start, before) = (Instant::now(), skipped()?);
    loop {
        thread::sleep(Duration::from_millis(200));
        let lost = reader.read()?.lost;
        let skipped = skipped()? - before;
        if skipped > 0 {
            return Ok(skipped);
        }
        if start.elapsed() > PATIENCE {
            return Err(unavailable("the kernel skipped no run", format!("{lost:?}")));
        }
    }
}

/// Skipped runs of all programs that this process holds.
fn skipped() -> Result<u64> {
    Ok(preempted::skipped()?.iter().map(|(_, runs)| runs).sum())
}
