//! As many attempts to connect as this machine can make: none is lost, and a subscriber
//! that is too slow is told exactly how many it has not got.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use netwatch_sdk::{
    Events,
    event::{Change, Event, Topic},
    reading::Attribution,
};
use nix::{
    errno::Errno,
    sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage},
};

use super::{
    collector,
    traffic::{SHAPES, SILENCE},
};
use crate::{
    actor::{Actor, hold, report},
    director::Running,
};

const THREADS: u64 = 2;

/// How many attempts each thread makes.
fn attempts() -> u64 {
    match std::env::var_os("NETWATCH_VM") {
        Some(_) => 5_000,
        None => 150_000,
    }
}

/// Connects to a port of loopback that nobody has, again and again with one socket: that
/// costs less than anything else that the kernel calls an attempt.
pub(super) fn flood(_: &Actor) -> Result<()> {
    let started = Instant::now();
    let threads = (0..THREADS).map(|_| thread::spawn(one_thread));
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(|_| anyhow!("panicked"))??;
    }
    let a_second = (THREADS * attempts()) as f64 / started.elapsed().as_secs_f64();
    eprintln!("events-flood: {a_second:.0} attempts a second");
    report(&[], true)?;
    hold()
}

fn one_thread() -> Result<()> {
    let nobody = SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let socket = socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    for _ in 0..attempts() {
        let refused = socket::connect(socket.as_raw_fd(), &nobody);
        ensure!(refused == Err(Errno::ECONNREFUSED), "{refused:?}");
    }
    Ok(())
}

/// What came, and what did not.
#[derive(Debug, Default)]
struct Counted {
    events: u64,
    lost: u64,
    opened: u64,
    refused: u64,
}

impl Counted {
    /// Counts until nothing comes for a while; what `pid` opened apart.
    fn take(&mut self, events: &mut Events, pid: u32, at_most: Duration) {
        while let Some(event) = events.next_within(at_most) {
            let event = match event {
                Event::Connection(event) => event,
                Event::Lost(lost) => {
                    self.lost += lost.events;
                    continue;
                }
                _ => continue,
            };
            self.events += 1;
            if matches!(event.process, Attribution::Process(id) if id.pid.0 == pid) {
                self.opened += u64::from(event.change == Change::Opened);
                self.refused += u64::from(event.change == Change::Refused);
            }
        }
    }
}

pub(super) fn run() -> Result<()> {
    let all = THREADS * attempts();
    // Room for all of it, should the thread that takes them out not get to run.
    let room = u32::try_from(2 * all * 184)?;
    let collector = collector(|builder| builder.event_buffer_bytes(room))?;
    let mut quick = collector.events_of(&[Topic::Connections])?;
    let mut slow = collector.events_of(&[Topic::Connections])?;
    let mut process = Running::start(&SHAPES[0], "flood", &[], None)?;
    let pid = process.pid();
    let mut counted = Counted::default();
    let done = thread::scope(|scope| {
        let flood = scope.spawn(|| process.done());
        while !flood.is_finished() {
            counted.take(&mut quick, pid, Duration::from_millis(10));
        }
        flood.join().map_err(|_| anyhow!("panicked"))?
    });
    done?;
    counted.take(&mut quick, pid, SILENCE);
    let told = (counted.opened, counted.refused, counted.lost);
    ensure!(told == (all, all, 0), "{counted:?} of {all} attempts");
    ensure!(collector.status().lost.events == 0, "the status counts lost events");
    // It has taken nothing so far.
    let mut left = Counted::default();
    left.take(&mut slow, pid, Duration::ZERO);
    ensure!(
        left.events + left.lost == counted.events,
        "{left:?} of {} events",
        counted.events
    );
    const QUEUE: u64 = 65_536;
    let expected = counted.events.saturating_sub(QUEUE);
    ensure!(left.lost == expected, "{left:?}, not {expected} lost");
    process.release()
}
