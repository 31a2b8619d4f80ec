//! What each hook adds to a send or receive call, for `cargo xtask bench hooks`.
//!
//! By the clock from outside, around the calls: the kernel's run-time statistics leave out what it takes to
//! get to a program. In a machine whose clock counts instructions, a nanosecond is an instruction.
//! The program needs nothing of its host, and tells a line of JSON for each hook in each round.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use netwatch_sdk::{Backend, Collector, Hook, Reader, reading::Attribution};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Map, json};

use crate::progress;

const MESSAGE: usize = 64;
/// Calls between two looks at the clock; so many datagrams fit into a socket.
const CALLS: u32 = 64;
/// How often that is done in a round. The median is taken, so interrupts do not count.
const TIMES: usize = 50;
/// The first of them are not counted.
const WARM_UP: usize = 5;
/// What the kernel puts off when programs are taken off.
const SETTLE: Duration = Duration::from_millis(200);

/// A pair of sockets over loopback for each protocol, in one thread: a send call brings the packet to the
/// other end before it returns.
struct Sockets {
    stream: (TcpStream, TcpStream),
    datagrams: (UdpSocket, UdpSocket),
}

type Call = fn(&Sockets) -> io::Result<()>;

/// What is done in turn, by name.
const EACH: [(&str, Call); 4] = [
    ("TCP send", |sockets| {
        (&sockets.stream.0).write_all(&[0; MESSAGE])
    }),
    ("TCP receive", |sockets| {
        (&sockets.stream.1).read_exact(&mut [0; MESSAGE])
    }),
    ("UDP send", |sockets| {
        sockets.datagrams.0.send(&[0; MESSAGE]).map(drop)
    }),
    ("UDP receive", |sockets| {
        sockets.datagrams.1.recv(&mut [0; MESSAGE]).map(drop)
    }),
];

impl Sockets {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        client.set_nodelay(true)?;
        let (server, _) = listener.accept()?;
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sender.connect(receiver.local_addr()?)?;
        Ok(Self {
            stream: (client, server),
            datagrams: (sender, receiver),
        })
    }

    /// Nanoseconds of a call of each kind.
    fn measure(&self) -> Result<[f64; EACH.len()]> {
        let mut measured = EACH.map(|_| Vec::new());
        for time in 0..WARM_UP + TIMES {
            for ((_, call), taken) in EACH.iter().zip(&mut measured) {
                let began = Instant::now();
                for _ in 0..CALLS {
                    call(self)?;
                }
                let took = began.elapsed();
                if time >= WARM_UP {
                    taken.push(took);
                }
            }
        }
        Ok(measured.map(|mut taken| {
            taken.sort_unstable();
            let median = taken.get(taken.len() / 2).copied().unwrap_or_default();
            median.as_nanos() as f64 / f64::from(CALLS)
        }))
    }
}

/// Measures without a collector and with each hook, one after the other, beginning with another one each round.
pub(crate) fn tell(rounds: u16) -> Result<()> {
    let mut processor = CpuSet::new();
    processor.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &processor)?;
    let mut sides: Vec<(&str, Option<Hook>)> = vec![("none", None)];
    for (name, hook) in Hook::ALL {
        match start(*hook) {
            Ok(_) => sides.push((name, Some(*hook))),
            Err(refused) => {
                let refused = format!("{refused:#}");
                println!("{}", json!({ "hook": name, "refused": refused }));
            }
        }
    }
    // The collector has threads, and calls of a process with threads take a little longer: it always has one.
    let (_until_the_end, waits) = mpsc::channel::<()>();
    thread::spawn(move || waits.recv());
    for round in 0..usize::from(rounds) {
        let count = sides.len();
        for (name, hook) in sides.iter().cycle().skip(round % count).take(count) {
            thread::sleep(SETTLE);
            let cost = with(*hook)?;
            progress(&format!("round {}, {name}: {cost:.0?}", round + 1));
            let cost: Map<_, _> = EACH
                .iter()
                .zip(cost)
                .map(|((call, _), cost)| ((*call).to_owned(), cost.into()))
                .collect();
            println!("{}", json!({ "hook": name, "cost": cost }));
        }
    }
    Ok(())
}

fn start(hook: Hook) -> Result<Collector> {
    Ok(Collector::builder()
        .backend(Backend::Ebpf)
        .hook(hook)
        .start()?)
}

fn with(hook: Option<Hook>) -> Result<[f64; EACH.len()]> {
    let Some(hook) = hook else {
        return Sockets::new()?.measure();
    };
    let collector = start(hook)?;
    let mut reader = collector.reader();
    let cost = Sockets::new()?.measure()?;
    let seen = sent(&mut reader, hook)?;
    // Both protocols.
    let moved = 2 * (WARM_UP + TIMES) as u64 * u64::from(CALLS) * MESSAGE as u64;
    ensure!(
        seen >= moved,
        "{}: {seen} bytes of {moved} were counted, so this is not what it costs",
        hook.name()
    );
    Ok(cost)
}

/// Bytes that this process sent, as far as the hook sees them.
fn sent(reader: &mut Reader, hook: Hook) -> Result<u64> {
    let reading = reader.read()?;
    let own = process::id();
    let row = reading
        .processes
        .iter()
        .find(|row| matches!(row.id, Attribution::Process(id) if id.pid.0 == own))
        .context("the collector has no row of this process")?;
    Ok(match hook {
        Hook::Cgroup => row.wire.unwrap_or_default().tx_bytes,
        _ => row.payload.tx_bytes,
    })
}
