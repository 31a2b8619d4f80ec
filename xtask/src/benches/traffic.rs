//! TCP over loopback, without and with the collector.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    clock,
    collector::Running,
    floor::Floor,
    rounds::{self, Spread},
    table::{Row, Target},
};

/// How long a round's traffic runs.
pub(crate) const ROUND: Duration = Duration::from_secs(1);
/// Bytes of a request and of its response.
const MESSAGE: usize = 64;

/// What a round moved, by the clock and by the CPU time that the traffic used.
pub(crate) struct Rate {
    pub(crate) a_second: f64,
    pub(crate) a_cpu_second: f64,
}

pub(crate) fn throughput(collector: &Path, rounds: u16) -> Result<Vec<Row>> {
    compare("TCP bytes", 0.97, 1e-9, "GB/s", collector, rounds, bulk)
}

pub(crate) fn requests(collector: &Path, rounds: u16) -> Result<Vec<Row>> {
    compare(
        "64-byte requests",
        0.95,
        1e-3,
        "thousand/s",
        collector,
        rounds,
        echo,
    )
}

fn compare(
    what: &str,
    target: f64,
    scale: f64,
    unit: &'static str,
    collector: &Path,
    rounds: u16,
    traffic: fn() -> Result<Rate>,
) -> Result<Vec<Row>> {
    traffic()?;
    let floor = Floor::new()?;
    let mut without = traffic;
    let mut with = || {
        let running = Running::start(collector)?;
        let rate = traffic();
        drop(running);
        rate
    };
    let mut empty = || {
        let _links = floor.attach()?;
        traffic()
    };
    let measured = rounds::turns(rounds, [&mut without, &mut with, &mut empty])?;
    let ratio = |part: fn(&[Rate; 3]) -> f64| Spread::of(measured.iter().map(part));
    Ok(vec![
        Row::new(
            format!("{what}, without the collector"),
            unit,
            ratio(|[without, ..]| without.a_second)?.times(scale),
        ),
        Row::new(
            format!("{what}, with / without"),
            "",
            ratio(|[without, with, _]| with.a_second / without.a_second)?,
        )
        .target(Target::AtLeast(target)),
        Row::new(
            format!("{what}, with empty programs on the same hooks / without"),
            "",
            ratio(|[without, _, empty]| empty.a_second / without.a_second)?,
        ),
        Row::new(
            format!("{what} a second of CPU time, with / without"),
            "",
            ratio(|[without, with, _]| with.a_cpu_second / without.a_cpu_second)?,
        ),
        Row::new(
            format!("{what} a second of CPU time, with empty programs / without"),
            "",
            ratio(|[without, _, empty]| empty.a_cpu_second / without.a_cpu_second)?,
        ),
        Row::new(
            format!("{what} a second of CPU time, with / with empty programs"),
            "",
            ratio(|[_, with, empty]| with.a_cpu_second / empty.a_cpu_second)?,
        ),
    ])
}

fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok((client, server))
}

pub(crate) fn measure(work: impl FnOnce() -> Result<u64>) -> Result<Rate> {
    let (began, used) = (Instant::now(), clock::process()?);
    let done = work()? as f64;
    let used = clock::process()?.saturating_sub(used);
    Ok(Rate {
        a_second: done / began.elapsed().as_secs_f64(),
        a_cpu_second: done / used.as_secs_f64(),
    })
}

fn bulk() -> Result<Rate> {
    let (mut client, mut server) = connection()?;
    measure(move || {
        let receiver = thread::spawn(move || -> Result<u64> {
            let (mut buffer, mut received) = (vec![0; 256 << 10], 0);
            loop {
                match server.read(&mut buffer)? {
                    0 => return Ok(received),
                    length => received += length as u64,
                }
            }
        });
        let (began, buffer) = (Instant::now(), vec![0; 128 << 10]);
        while began.elapsed() < ROUND {
            client.write_all(&buffer)?;
        }
        drop(client);
        receiver
            .join()
            .map_err(|_| anyhow!("the receiver panicked"))?
    })
}

fn echo() -> Result<Rate> {
    let (mut client, mut server) = connection()?;
    measure(move || {
        let server = thread::spawn(move || {
            let mut message = [0; MESSAGE];
            while server.read_exact(&mut message).is_ok() && server.write_all(&message).is_ok() {}
        });
        let (began, mut message, mut count) = (Instant::now(), [0; MESSAGE], 0);
        while began.elapsed() < ROUND {
            client.write_all(&message)?;
            client.read_exact(&mut message)?;
            count += 1;
        }
        drop(client);
        server.join().map_err(|_| anyhow!("the server panicked"))?;
        Ok(count)
    })
}
