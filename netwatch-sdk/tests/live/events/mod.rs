//! Events: real connections of known kinds, and exactly their events.

pub(crate) mod attempt;
mod every_shape;
mod flood;
mod lost;
pub(crate) mod traffic;
mod unreachable;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{Builder, Collector, Events};

use self::{
    attempt::Heard,
    traffic::{SHAPES, SILENCE},
};
use crate::{
    actor::unavailable, director::Running, namespace::Namespace, observe::exact, quiet,
    shape::Shape,
    trial::{alone, trial},
    truth::Truth,
};

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &'static str, about: &str, run: fn() -> Result<()>| {
        trial(name, about, move || {
            let _quiet = quiet::among_others();
            run()
        })
    };
    vec![
        trial(
            "events-10000",
            "10,000 connections (2,000 in a virtual machine) of all kinds give exactly their events, to two subscribers",
            ten_thousand,
        ),
        trial(
            "events-table",
            "the same with the records of sockets in a table, where no listener is known",
            in_table,
        ),
        trial(
            "events-unreachable",
            "attempts to reach nobody on a wire",
            unreachable::unreachable,
        ),
        trial(
            "events-shapes",
            "every traffic shape: each TCP socket is closed once, with the bytes it moved",
            every_shape::every_shape,
        ),
        alone(
            "events-prefork",
            "an accepted connection is the listener's owner's until another process uses it",
            prefork,
        ),
        alone(
            "events-dropped",
            "without a subscriber nothing is written, and the thread is gone",
            dropped,
        ),
        alone(
            "events-lost",
            "a buffer for 22 events: what is missing is counted exactly",
            lost::lost,
        ),
        alone(
            "events-flood",
            "300,000 attempts as fast as they can be made: none is lost, and a subscriber that is too slow is told how many it lost",
            flood::run,
        ),
    ]
}

fn collector(settings: impl FnOnce(Builder) -> Builder) -> Result<Collector> {
    match settings(exact()?).start() {
        Err(error) if !nix::unistd::geteuid().is_root() => Err(unavailable("needs root", error)),
        other => other.context("start the collector"),
    }
}

/// Loses nothing on a busy machine either.
fn roomy(builder: Builder) -> Builder {
    builder.event_buffer_bytes(16 << 20)
}

/// A server and a client of one shape, started one after the other.
struct Pair {
    server: Running,
    peers: Vec<SocketAddr>,
    client: Option<Running>,
    place: Option<Namespace>,
}

impl Pair {
    fn start(shape: &Shape, role: &str, place: Option<Namespace>) -> Result<Self> {
        let mut server = Running::start(shape, role, &[], place.as_ref())?;
        let peers = server.ready()?;
        server.paused()?;
        Ok(Self {
            server,
            peers,
            client: None,
            place,
        })
    }

    fn drive(&mut self, shape: &Shape, role: &str) -> Result<()> {
        self.server.go()?;
        self.server.paused()?;
        self.server.go()?;
        let client = Running::start(shape, role, &self.peers, self.place.as_ref())?;
        self.client = Some(client);
        Ok(())
    }

    fn done(&mut self) -> Result<Truth> {
        let client = self.client.as_mut().context("not driven")?;
        client.done()?;
        self.server.done()?;
        let mut truth = client.truth.clone();
        truth.add_all(self.server.truth.clone());
        client.release()?;
        self.server.release()?;
        Ok(truth)
    }
}

fn ten_thousand() -> Result<()> {
    // A listener that is older than the collector.
    let older = Pair::start(&SHAPES[0], "serve", None)?;
    let collector = collector(roomy)?;
    let mut one = collector.events()?;
    let mut other = collector.events()?;
    let mut pairs = vec![older];
    pairs.push(Pair::start(&SHAPES[1], "serve", Some(Namespace::new()?))?);
    pairs.push(Pair::start(&SHAPES[0], "serve", Some(Namespace::new()?))?);
    pairs.push(Pair::start(&SHAPES[2], "serve", None)?);
    let mut truth = Truth::default();
    let shapes = [&SHAPES[0], &SHAPES[1], &SHAPES[0], &SHAPES[2]];
    for (pair, shape) in pairs.iter_mut().zip(shapes) {
        pair.drive(shape, "drive")?;
    }
    let [mut heard, mut also] = listen_while([&mut one, &mut other], || {
        pairs.iter_mut().try_for_each(|pair| {
            truth.add_all(pair.done()?);
            Ok(())
        })
    })?;
    heard.listen_for(&mut one, &truth);
    also.listen_for(&mut other, &truth);
    let outgoing = truth.attempts.iter().filter(|one| !one.incoming).count();
    ensure!(outgoing >= traffic::scaled(10_000), "only {outgoing} connections");
    heard.check(&collector, &truth)?;
    also.check(&collector, &truth)?;
    ensure!(collector.status().lost.events == 0, "the status counts lost events");
    Ok(())
}

/// What subscribers hear while something is done.
fn listen_while<const COUNT: usize>(
    subscribers: [&mut Events; COUNT],
    work: impl FnOnce() -> Result<()>,
) -> Result<[Heard; COUNT]> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let heard = subscribers.map(|events| {
            let over = &over;
            scope.spawn(move || {
                let mut heard = Heard::default();
                while !over.load(Relaxed) {
                    heard.listen(events, SILENCE, |_| false);
                }
                heard
            })
        });
        let done = work();
        over.store(true, Relaxed);
        let heard = heard.map(|thread| thread.join().unwrap_or_default());
        done.map(|()| heard)
    })
}

fn in_table() -> Result<()> {
    let collector = collector(|builder| roomy(builder.in_table()))?;
    let mut events = collector.events()?;
    let mut pair = Pair::start(&SHAPES[2], "serve", None)?;
    pair.drive(&SHAPES[2], "drive")?;
    let mut truth = Truth::default();
    let [mut heard] = listen_while([&mut events], || {
        truth = pair.done()?;
        Ok(())
    })?;
    heard.listen_for(&mut events, &truth);
    heard.check(&collector, &truth)
}

fn prefork() -> Result<()> {
    let collector = collector(|builder| builder)?;
    let mut events = collector.events()?;
    let truth = visited("prefork")?;
    let mut heard = Heard::default();
    heard.listen_for(&mut events, &truth);
    heard.check(&collector, &truth)
}

/// What came of a few connections to a server.
fn visited(role: &str) -> Result<Truth> {
    let mut pair = Pair::start(&SHAPES[0], role, None)?;
    pair.drive(&SHAPES[0], "few")?;
    pair.done()
}

fn dropped() -> Result<()> {
    let collector = collector(|builder| builder)?;
    // Collectors of other tests have detectors, which listen.
    let others = threads()?;
    let events = collector.events()?;
    let second = collector.events()?;
    wait_for_threads(others + 1)?;
    drop(events);
    wait_for_threads(others + 1)?;
    drop(second);
    wait_for_threads(others)?;
    let unheard = visited("prefork")?;
    let mut events: Events = collector.events()?;
    let truth = visited("prefork")?;
    let mut heard = Heard::default();
    heard.listen_for(&mut events, &truth);
    heard.check(&collector, &truth)?;
    for attempt in &unheard.attempts {
        let found = heard.connections.get(&attempt.cookie);
        ensure!(found.is_none(), "{attempt:?}: {found:?}");
    }
    Ok(())
}

/// How many threads of this process read events.
fn threads() -> Result<usize> {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let comm = std::fs::read_to_string(task?.path().join("comm"));
        count += usize::from(comm.is_ok_and(|name| name.trim_end() == "netwatch-events"));
    }
    Ok(count)
}

fn wait_for_threads(expected: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let count = threads()?;
        if count == expected {
            return Ok(());
        }
        let patience = Duration::from_secs(2);
        ensure!(started.elapsed() < patience, "{count} threads, not {expected}");
        thread::sleep(Duration::from_millis(5));
    }
}
