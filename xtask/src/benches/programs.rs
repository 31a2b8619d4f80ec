//! What each kernel program costs, less an empty one on the same hook.
//!
//! Two ways. *Body*: the kernel's run-time statistics of both, in the same traffic,
//! with the whole collector running. *Whole*: CPU time of the same calls with the
//! program attached alone and with the empty one attached alone, statistics off.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use netwatch_sdk::{Backend, Collector};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{setsockopt, sockopt::Linger},
    unistd::Pid,
};

use crate::{
    bpf::{self, Program, Runs},
    clock,
    floor::cgroup_root,
    progress,
    rounds::Spread,
    table::{Row, Target},
};

const MESSAGE: usize = 64;

/// How often each kind of work is done in a round.
const CALLS: u64 = 10_000;
const CONNECTIONS: u64 = 500;
const PROCESSES: u64 = 30;

/// Programs that run for every call or packet, and which work makes them run.
const HOT: [(&str, bool); 5] = [
    ("sock_send_length", false),
    ("sock_recv_length", false),
    ("tcp_rcv_space_adjust", true),
    ("ingress", false),
    ("egress", false),
];

/// Programs that tell of events.
const TELLING: [&str; 3] = ["inet_sock_set_state", "tcp_destroy_sock", "sock_release"];

/// One program and an empty one.
struct Pair {
    own: Program,
    empty: Program,
}

/// Everything in one thread: loopback delivers within the send call.
struct Work {
    datagrams: UdpSocket,
    stream: (TcpStream, TcpStream),
    listener: TcpListener,
}

impl Work {
    fn new() -> Result<Self> {
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.connect(datagrams.local_addr()?)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        client.set_nodelay(true)?;
        let (server, _) = listener.accept()?;
        Ok(Self {
            datagrams,
            stream: (client, server),
            listener,
        })
    }

    /// Sends to itself and receives: a call and a packet each way.
    fn datagrams(&self) -> Result<()> {
        let mut message = [0; MESSAGE];
        for _ in 0..CALLS {
            self.datagrams.send(&message)?;
            self.datagrams.recv(&mut message)?;
        }
        Ok(())
    }

    fn stream(&self) -> Result<()> {
        let (mut client, mut server) = (&self.stream.0, &self.stream.1);
        let mut message = [0; MESSAGE];
        for _ in 0..CALLS {
            client.write_all(&message)?;
            server.read_exact(&mut message)?;
        }
        Ok(())
    }

    /// Sockets and connections that begin and end.
    fn connections(&self) -> Result<()> {
        let reset = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        for _ in 0..CONNECTIONS {
            drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
            let client = TcpStream::connect(self.listener.local_addr()?)?;
            let (mut server, _) = self.listener.accept()?;
            server.write_all(b"x")?;
            (&client).read_exact(&mut [0])?;
            // No TIME-WAIT, which would use up the ports.
            setsockopt(&client, Linger, &reset)?;
        }
        Ok(())
    }

    fn processes() -> Result<()> {
        for _ in 0..PROCESSES {
            Command::new("/bin/true").status()?;
        }
        Ok(())
    }
}

pub(crate) fn costs(rounds: u16) -> Result<Vec<Row>> {
    // One processor, as the statistics of a program are of one.
    let mut processor = CpuSet::new();
    processor.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &processor)?;
    let measured = measure(rounds);
    let mut all = CpuSet::new();
    for number in 0..CpuSet::count() {
        all.set(number)?;
    }
    sched_setaffinity(Pid::from_raw(0), &all)?;
    measured
}

fn measure(rounds: u16) -> Result<Vec<Row>> {
    let root = cgroup_root()?;
    let work = Work::new()?;
    // The detectors are subscribers too.
    let builder = Collector::builder().backend(Backend::Ebpf);
    let collector = builder.without_detectors().without_dns().start()?;
    let mut pairs = Vec::new();
    for own in bpf::own_programs()? {
        match own.empty()? {
            Some(empty) => pairs.push(Pair { own, empty }),
            None => progress(&format!("{}: no empty program for its hook", own.name)),
        }
    }
    let mut rows = bodies(rounds, &pairs, &collector, &work, root.as_fd())?;
    rows.extend(with_subscriber(
        rounds,
        &pairs,
        &collector,
        &work,
        root.as_fd(),
    )?);
    drop(collector);
    rows.extend(wholes(rounds, &pairs, &work, root.as_fd())?);
    Ok(rows)
}

/// Nanoseconds of one run between two looks at a program; `None` if it did not run.
fn a_run(before: Runs, after: Runs) -> Option<f64> {
    let count = after.count.checked_sub(before.count)?;
    let nanoseconds = after.nanoseconds.checked_sub(before.nanoseconds)?;
    (count > 0).then(|| nanoseconds as f64 / count as f64)
}

fn bodies(
    rounds: u16,
    pairs: &[Pair],
    collector: &Collector,
    work: &Work,
    cgroup: BorrowedFd<'_>,
) -> Result<Vec<Row>> {
    progress("run-time statistics");
    let _statistics = bpf::statistics()?;
    let links: Result<Vec<OwnedFd>> = pairs.iter().map(|pair| pair.empty.attach(cgroup)).collect();
    let _links = links?;
    let mut reader = collector.reader();
    let mut costs: Vec<Vec<f64>> = pairs.iter().map(|_| Vec::new()).collect();
    let look = || -> Result<Vec<(Runs, Runs)>> {
        pairs
            .iter()
            .map(|pair| Ok((pair.own.runs()?, pair.empty.runs()?)))
            .collect()
    };
    for _ in 0..rounds {
        let before = look()?;
        work.datagrams()?;
        work.stream()?;
        work.connections()?;
        Work::processes()?;
        let after = look()?;
        for ((cost, before), after) in costs.iter_mut().zip(before).zip(after) {
            if let (Some(own), Some(empty)) = (a_run(before.0, after.0), a_run(before.1, after.1)) {
                cost.push(own - empty);
            }
        }
        // Makes room for the next round's closed sockets.
        reader.read()?;
    }
    pairs
        .iter()
        .zip(costs)
        .filter(|(_, costs)| !costs.is_empty())
        .map(|(pair, costs)| {
            let hot = is_hot(&pair.own.name);
            let each = if hot { "a call or packet" } else { "a run" };
            let what = format!("`{}`, body, {each}", pair.own.name);
            let row = Row::new(what, "ns", Spread::of(costs)?);
            Ok(if hot {
                row.target(Target::AtMost(100.0))
            } else {
                row
            })
        })
        .collect()
}

/// The same of the programs that tell of events, while someone listens.
fn with_subscriber(
    rounds: u16,
    pairs: &[Pair],
    collector: &Collector,
    work: &Work,
    cgroup: BorrowedFd<'_>,
) -> Result<Vec<Row>> {
    let mut events = collector.events()?;
    let over = AtomicBool::new(false);
    let rows = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = events.next_within(Duration::from_millis(100));
            }
        });
        let rows = bodies(rounds, pairs, collector, work, cgroup);
        over.store(true, Ordering::Relaxed);
        rows
    })?;
    let tells = |row: &Row| TELLING.iter().any(|name| row.what.contains(name));
    let named = |mut row: Row| {
        row.what += ", with a subscriber of events";
        row
    };
    Ok(rows.into_iter().filter(tells).map(named).collect())
}

fn wholes(rounds: u16, pairs: &[Pair], work: &Work, cgroup: BorrowedFd<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, is_stream) in HOT {
        let Some(pair) = pairs.iter().find(|pair| pair.own.name == name) else {
            continue;
        };
        progress(&format!("{name} alone"));
        let run = || {
            if is_stream {
                work.stream()
            } else {
                work.datagrams()
            }
        };
        let runs = {
            let _statistics = bpf::statistics()?;
            let _link = pair.empty.attach(cgroup)?;
            let before = pair.empty.runs()?.count;
            run()?;
            pair.empty.runs()?.count.saturating_sub(before)
        };
        let timed = |program: Option<&Program>| -> Result<f64> {
            let _link = program.map(|program| program.attach(cgroup)).transpose()?;
            run()?;
            let began = clock::thread()?;
            run()?;
            let used = clock::thread()?.saturating_sub(began);
            Ok(used.as_nanos() as f64 / runs as f64)
        };
        let (mut costs, mut dispatch) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let none = timed(None)?;
            let (own, empty) = if round % 2 == 0 {
                let own = timed(Some(&pair.own))?;
                (own, timed(Some(&pair.empty))?)
            } else {
                let empty = timed(Some(&pair.empty))?;
                (timed(Some(&pair.own))?, empty)
            };
            costs.push(own - empty);
            dispatch.push(empty - none);
        }
        rows.push(
            Row::new(
                format!("`{name}`, whole, a call or packet"),
                "ns",
                Spread::of(costs)?,
            )
            .target(Target::AtMost(100.0)),
        );
        rows.push(Row::new(
            format!("`{name}`, dispatch of the empty program alone"),
            "ns",
            Spread::of(dispatch)?,
        ));
    }
    Ok(rows)
}

fn is_hot(name: &str) -> bool {
    HOT.iter().any(|(full, _)| *full == name)
}
