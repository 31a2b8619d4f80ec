//! TCP connections over loopback, without and with the collector, and with a subscriber
//! of its events.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use netwatch_sdk::{Backend, Collector, event::Event};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
    },
};

use crate::{
    rounds::{self, Spread},
    table::{Row, Target},
    traffic::{ROUND, Rate, measure},
};

/// Connections from one address, so that TIME-WAIT does not use up its ports.
const AN_ADDRESS: u64 = 10_000;

pub(crate) fn rate(rounds: u16) -> Result<Vec<Row>> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut rows = compare(rounds, "TCP connections", Some(0.95), || churn(&server))?;
    rows.extend(compare(rounds, "attempts to connect", None, knock)?);
    Ok(rows)
}

fn compare(
    rounds: u16,
    what: &str,
    target: Option<f64>,
    traffic: impl Fn() -> Result<Rate>,
) -> Result<Vec<Row>> {
    traffic()?;
    let (mut heard, mut lost) = (Vec::new(), Vec::new());
    let mut without = || traffic();
    let mut with = || {
        let _collector = start()?;
        traffic()
    };
    let mut listening = || {
        let listener = Listener::start(start()?)?;
        let rate = traffic()?;
        let (events, missing) = listener.end()?;
        heard.push(events as f64 / ROUND.as_secs_f64());
        lost.push(missing as f64);
        Ok(rate)
    };
    let measured = rounds::turns(rounds, [&mut without, &mut with, &mut listening])?;
    let ratio = |part: fn(&[Rate; 3]) -> f64| Spread::of(measured.iter().map(part));
    let mut with_subscriber = Row::new(
        format!("{what}, with a subscriber of events / with"),
        "",
        ratio(|[_, with, listening]| listening.a_second / with.a_second)?,
    );
    if let Some(least) = target {
        with_subscriber = with_subscriber.target(Target::AtLeast(least));
    }
    Ok(vec![
        Row::new(
            format!("{what}, without the collector"),
            "thousand/s",
            ratio(|[without, ..]| without.a_second)?.times(1e-3),
        ),
        Row::new(
            format!("{what}, with / without"),
            "",
            ratio(|[without, with, _]| with.a_second / without.a_second)?,
        ),
        with_subscriber,
        Row::new(
            format!("{what} a second of CPU time, with / without"),
            "",
            ratio(|[without, with, _]| with.a_cpu_second / without.a_cpu_second)?,
        ),
        Row::new(
            format!("{what} a second of CPU time, with a subscriber of events / with"),
            "",
            ratio(|[_, with, listening]| listening.a_cpu_second / with.a_cpu_second)?,
        ),
        Row::new(
            format!("{what}, events that the subscriber got"),
            "thousand/s",
            Spread::of(heard)?.times(1e-3),
        ),
        Row::new(
            format!("{what}, events lost in a round"),
            "",
            Spread::of(lost)?,
        ),
    ])
}

fn start() -> Result<Collector> {
    let builder = Collector::builder().backend(Backend::Ebpf);
    Ok(builder.without_detectors().without_dns().start()?)
}

/// One thread at both ends: loopback completes a handshake within the connect call.
fn churn(listener: &TcpListener) -> Result<Rate> {
    let SocketAddr::V4(server) = listener.local_addr()? else {
        return Err(anyhow!("not an IPv4 address"));
    };
    let server = SockaddrIn::from(server);
    measure(|| {
        let (began, mut count) = (Instant::now(), 0_u64);
        while began.elapsed() < ROUND {
            let client = socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::empty(),
                None,
            )?;
            let [.., high, low] = (count / AN_ADDRESS).to_be_bytes();
            let from = Ipv4Addr::new(127, 1, high, low);
            setsockopt(&client, sockopt::IpBindAddressNoPort, &true)?;
            bind(
                client.as_raw_fd(),
                &SockaddrIn::from(SocketAddrV4::new(from, 0)),
            )?;
            connect(client.as_raw_fd(), &server)?;
            let (accepted, _) = listener.accept()?;
            drop(client);
            drop(accepted);
            count += 1;
        }
        Ok(count)
    })
}

/// Attempts to connect to a port of loopback that nobody has, by two threads with one socket
/// each: nothing that the kernel calls an attempt costs less. Two events each.
fn knock() -> Result<Rate> {
    measure(|| {
        let threads = [(); 2].map(|()| thread::spawn(knock_alone));
        let mut count = 0;
        for thread in threads {
            count += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(count)
    })
}

fn knock_alone() -> Result<u64> {
    let nobody = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
    let client = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < ROUND {
        let refused = connect(client.as_raw_fd(), &nobody);
        anyhow::ensure!(refused == Err(Errno::ECONNREFUSED), "{refused:?}");
        count += 1;
    }
    Ok(count)
}

/// A subscriber that only counts.
struct Listener {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Listener {
    fn start(collector: Collector) -> Result<Self> {
        let mut events = collector.events()?;
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (mut heard, mut lost) = (0, 0);
            loop {
                match events.next_within(Duration::from_millis(100)) {
                    Some(Event::Lost(missing)) => lost += missing.events,
                    Some(_) => heard += 1,
                    None if until.load(Ordering::Relaxed) => return (heard, lost),
                    None => {}
                }
            }
        });
        Ok(Self { over, thread })
    }

    fn end(self) -> Result<(u64, u64)> {
        self.over.store(true, Ordering::Relaxed);
        let counted = self.thread.join();
        counted.map_err(|_| anyhow!("the subscriber panicked"))
    }
}
