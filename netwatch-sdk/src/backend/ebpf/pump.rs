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
use chrono::Utc;
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
    syscall::IteratorLink,
};
use crate::{
    Error, ErrorKind, Result,
    backend::feed::{Feed, Running, Sink},
    error::chain,
    event::{Event, Lost},
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
    /// The counter of what had no room in it.
    lost: u32,
    decode: Decode,
}

const SOURCES: &[Source] = &[Source {
    ring: "EVENTS",
    wanted: counters::EVENTS_WANTED,
    lost: counters::EVENTS_LOST,
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

    /// What had no room so far, or made no sense.
    fn lost(&self) -> Result<u64> {
        let counters = lock(&self.counters);
        let mut lost = self.unreadable.load(Ordering::Relaxed);
        for source in SOURCES {
            lost += counters.get(&source.lost, 0).map_err(failed)?;
        }
        Ok(lost)
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
        let lost = self.maps.lost()?;
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
            if let Err(error) = run(&maps, dns.as_ref(), &stopped, lost, &mut context, &*sink) {
                log::error!("no more events: {}", chain(&error));
                sink.end();
            }
        });
        pump.thread = Some(thread.map_err(|error| Error::io("the thread for events", error))?);
        Ok(Box::new(pump))
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
    mut lost_before: u64,
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
        if let Some(dns) = dns {
            dns.relieve(sink)?;
        }
        if stops_while_waiting(stop, &[], PollTimeout::from(PAUSE))? {
            return Ok(());
        }
        context.clock.refresh();
        let mut is_empty = false;
        while !is_empty {
            is_empty = true;
            for (ring, source) in rings.iter_mut().zip(SOURCES) {
                for _ in 0..BATCH {
                    let Some(record) = ring.next() else { break };
                    is_empty = false;
                    if !(source.decode)(&record, context, &mut |event| sink.take(&event)) {
                        maps.unreadable.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            let lost = maps.lost()?;
            if lost > lost_before {
                sink.take(&Event::Lost(Lost {
                    time: Utc::now(),
                    events: lost - lost_before,
                }));
                lost_before = lost;
            }
            sink.flush();
            if stops_while_waiting(stop, &[], PollTimeout::ZERO)? {
                return Ok(());
            }
        }
    }
}

/// DNS messages, which readings take, before there is no room for more of them.
#[derive(Debug)]
struct Overflow {
    dns: Arc<Mutex<Dns>>,
    /// Edge-triggered: a ring that is not empty counts as readable, but only from a
    /// quarter full on do the programs wake anybody.
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

    /// Gives the messages to the sink, if the ring has become full enough.
    fn relieve(&self, sink: &dyn Sink) -> Result<()> {
        let mut events = [EpollEvent::empty()];
        match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => lock(&self.dns).drain(&mut |datagram| sink.dns(&datagram)),
            Err(error) => Err(Error::io("epoll", error.into())),
        }
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
