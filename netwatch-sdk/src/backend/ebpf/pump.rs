//! Reads the ring buffers of events on a thread, while someone wants them.
//!
//! A ring wakes its reader only when everything before was read. So the thread waits
//! a little once it was woken: a flood wakes it no more often than that, and an idle
//! host never.

use std::{
    io::{PipeReader, PipeWriter, pipe},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use aya::maps::{Array, Map, MapData, RingBuf};
use netwatch_common::counters;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use super::{
    cgroup::CgroupPaths,
    clock::Clock,
    dns::Dns,
    events::{self, Context, Decode},
    load::Loaded,
    syscall::{self, IteratorLink},
};
use crate::{
    Error, ErrorKind, Result,
    backend::feed::{Feed, Running, Sink},
    error::chain,
    event::Topic,
};

/// Milliseconds from the first event after a rest until it is given on.
const PAUSE: u16 = 5;

/// Records of one ring between two looks at everything else.
const BATCH: usize = 4096;

/// A ring buffer of events.
struct Source {
    /// The map's name.
    ring: &'static str,
    /// The counter that makes the programs write to it.
    wanted: u32,
    decode: Decode,
}

const SOURCES: &[Source] = &[Source {
    ring: "EVENTS",
    wanted: counters::EVENTS_WANTED,
    decode: events::connection,
}];

/// The kernel programs' events.
#[derive(Debug)]
pub(super) struct EbpfFeed {
    maps: Arc<Maps>,
    dns: Option<Arc<Mutex<Dns>>>,
    owners: Arc<IteratorLink>,
    cgroups: PathBuf,
}

/// Handles of their own on the rings, in the order of `SOURCES`, and on the counters.
struct Maps {
    rings: Vec<Map>,
    counters: Mutex<Array<MapData, u64>>,
    /// Records that made no sense.
    unreadable: AtomicU64,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl EbpfFeed {
    pub(super) fn new(loaded: &Loaded, dns: Option<Arc<Mutex<Dns>>>) -> Result<Self> {
        let rings = SOURCES.iter().map(|source| loaded.handle(source.ring));
        Ok(Self {
            maps: Arc::new(Maps {
                rings: rings.collect::<Result<_>>()?,
                counters: Mutex::new(loaded.handle("COUNTERS")?.try_into().map_err(failed)?),
                unreadable: AtomicU64::new(0),
            }),
            dns,
            owners: Arc::clone(&loaded.owners),
            cgroups: loaded.cgroup.clone().unwrap_or_default(),
        })
    }
}

fn failed(error: aya::maps::MapError) -> Error {
    Error::new(ErrorKind::Io, "the maps of events cannot be used").because(error)
}

impl Maps {
    /// Makes the programs write, or stop writing.
    fn want(&self, wanted: bool) -> Result<()> {
        let mut counters = lock(&self.counters);
        for source in SOURCES {
            let value = u64::from(wanted);
            counters.set(source.wanted, value, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Events of connections that had no room so far, or made no sense.
    fn lost(&self) -> Result<u64> {
        let lost = self.counter(counters::EVENTS_LOST)?;
        Ok(lost + self.unreadable.load(Ordering::Relaxed))
    }

    /// What is missing so far, by topic.
    fn missing(&self) -> Result<[(Topic, u64); 2]> {
        let dns = self.counter(counters::DNS_MESSAGES)?;
        Ok([(Topic::Connections, self.lost()?), (Topic::Dns, dns)])
    }

    fn counter(&self, index: u32) -> Result<u64> {
        lock(&self.counters).get(&index, 0).map_err(failed)
    }

    fn open(&self) -> Result<Vec<RingBuf<&MapData>>> {
        let rings = self.rings.iter().map(RingBuf::try_from);
        rings.collect::<Result<_, _>>().map_err(failed)
    }
}

impl Feed for EbpfFeed {
    fn start(&self, sink: Arc<dyn Sink>) -> Result<Box<dyn Running>> {
        // What an earlier subscriber left.
        for ring in &mut self.maps.open()? {
            while ring.next().is_some() {}
        }
        let (stop, stopped) = pipe_pair()?;
        let mut pump = Pump {
            maps: Arc::clone(&self.maps),
            owners: Arc::clone(&self.owners),
            thread: None,
            stop: Some(stop),
        };
        let missing = self.maps.missing()?;
        self.maps.want(true)?;
        // Every listener gets a note of its owner, which the sockets it accepts inherit.
        find_listeners(&self.owners)?;
        let maps = Arc::clone(&self.maps);
        let dns = self.dns.clone().map(Overflow::new).transpose()?;
        let mut context = Context {
            clock: Clock::new(),
            cgroups: CgroupPaths::new(self.cgroups.clone()),
        };
        let thread = thread::Builder::new().name("netwatch-events".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = run(&maps, dns.as_ref(), &stopped, missing, &mut context, &*sink) {
                log::error!("no more events: {}", chain(&error));
                sink.end();
            }
        });
        pump.thread = Some(thread.map_err(|error| Error::io("the thread for events", error))?);
        Ok(Box::new(pump))
    }

    fn has_dns(&self) -> bool {
        self.dns.is_some()
    }

    fn tell_dns(&self, told: bool, sink: &dyn Sink) -> Result<()> {
        let Some(dns) = &self.dns else { return Ok(()) };
        lock(&self.maps.counters)
            .set(counters::DNS_TOLD, u64::from(told), 0)
            .map_err(failed)?;
        if told {
            // What is in the ring by then wakes nobody, nor would what comes after it.
            syscall::wait_for_running_programs();
            lock(dns).drain(&mut |message| sink.dns(&message))?;
        }
        Ok(())
    }

    fn lost(&self) -> u64 {
        self.maps.lost().unwrap_or_default()
    }
}

fn pipe_pair() -> Result<(PipeWriter, PipeReader)> {
    let (reader, writer) = pipe().map_err(|error| Error::io("a pipe", error))?;
    Ok((writer, reader))
}

fn find_listeners(owners: &IteratorLink) -> Result<()> {
    let pass = owners.run(|| {});
    pass.map_err(|error| Error::io("the iterator over open files", error))
}

/// A running pump.
#[derive(Debug)]
struct Pump {
    maps: Arc<Maps>,
    owners: Arc<IteratorLink>,
    thread: Option<JoinHandle<()>>,
    /// Its end is the thread's.
    stop: Option<PipeWriter>,
}

impl Running for Pump {
    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread for events panicked");
        }
        let stopped = self.maps.want(false);
        // The listeners' notes go too.
        if let Err(error) = stopped.and_then(|()| find_listeners(&self.owners)) {
            log::warn!("events are still written: {}", chain(&error));
        }
    }
}

/// Waits, reads, gives on; until `stop` ends.
fn run(
    maps: &Maps,
    dns: Option<&Overflow>,
    stop: &PipeReader,
    mut missing_before: [(Topic, u64); 2],
    context: &mut Context,
    sink: &dyn Sink,
) -> Result<()> {
    let mut rings = maps.open()?;
    loop {
        let woken = rings.iter().map(AsFd::as_fd);
        let woken: Vec<_> = woken.chain(dns.map(|dns| dns.epoll.0.as_fd())).collect();
        if stops_while_waiting(stop, &woken, PollTimeout::NONE)? {
            return Ok(());
        }
        let mut dns_left = match dns {
            Some(dns) => !dns.relieve(sink)?,
            None => false,
        };
        if stops_while_waiting(stop, &[], PollTimeout::from(PAUSE))? {
            return Ok(());
        }
        context.clock.refresh();
        let mut is_empty = false;
        while !is_empty {
            if let Some(dns) = dns
                && dns_left
            {
                dns_left = !dns.take(sink)?;
            }
            is_empty = !dns_left;
            for (ring, source) in rings.iter_mut().zip(SOURCES) {
                for _ in 0..BATCH {
                    let Some(record) = ring.next() else { break };
                    is_empty = false;
                    if !(source.decode)(&record, context, &mut |event| sink.take(&event)) {
                        maps.unreadable.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            let missing = maps.missing()?;
            for ((topic, now), (_, before)) in missing.iter().zip(missing_before) {
                if *now > before {
                    sink.miss(*topic, now - before);
                }
            }
            missing_before = missing;
            sink.flush();
            if stops_while_waiting(stop, &[], PollTimeout::ZERO)? {
                return Ok(());
            }
        }
    }
}

/// DNS messages, which readings take: before there is no room for more of them, and while
/// someone listens.
#[derive(Debug)]
struct Overflow {
    dns: Arc<Mutex<Dns>>,
    /// Edge-triggered: a ring that is not empty counts as readable, but the programs may
    /// wake nobody until it is a quarter full.
    epoll: Epoll,
}

impl Overflow {
    fn new(dns: Arc<Mutex<Dns>>) -> Result<Self> {
        let failed = |error: nix::errno::Errno| Error::io("epoll", error.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        if let Some(fd) = lock(&dns).fd() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            epoll.add(fd, event).map_err(failed)?;
        }
        Ok(Self { dns, epoll })
    }

    /// Gives the messages to the sink, if the programs ask for it. `true` when none is left.
    fn relieve(&self, sink: &dyn Sink) -> Result<bool> {
        let mut events = [EpollEvent::empty()];
        match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(true),
            Ok(_) => self.take(sink),
            Err(error) => Err(Error::io("epoll", error.into())),
        }
    }

    fn take(&self, sink: &dyn Sink) -> Result<bool> {
        lock(&self.dns).drain(&mut |message| sink.dns(&message))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for one of `others`, or for `stop`, which it tells of.
fn stops_while_waiting(
    stop: &PipeReader,
    others: &[BorrowedFd<'_>],
    at_most: PollTimeout,
) -> Result<bool> {
    let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    fds.extend(others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
    match poll(&mut fds, at_most) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(Error::io("poll", error.into())),
    }
    let stop = fds.first().and_then(PollFd::revents);
    Ok(stop.is_some_and(|events| !events.is_empty()))
}
