//! Sockets that were idle for several readings, and then are not.
//!
//! A listing has no row for them; what happens to them must show all the same.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Reader,
    reading::{Accuracy, Attribution, Payload, Reading, Socket, SocketId, SocketState},
};

use crate::observe::exact;

/// More readings than a socket is listed for after its last change.
const IDLE: usize = 4;
/// Everything is listed about this often.
const WHOLE_EVERY: usize = 64;
const IDLE_SOCKETS: usize = 400;
/// No acknowledgement is under way any more.
const ACKNOWLEDGED: Duration = Duration::from_millis(60);
const USER: u32 = 12_345;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        super::trial(
            "settled-socket",
            "bytes, states, times, users and ends of sockets that were long idle",
            changes,
        ),
        super::trial(
            "settled-sockets-close",
            "of many idle sockets some end and some are used, and each is known",
            among_many,
        ),
    ]
}

fn reader() -> Result<Reader> {
    match exact()?.start() {
        Err(error) if !nix::unistd::geteuid().is_root() => {
            Err(crate::actor::unavailable("needs root", error))
        }
        other => Ok(other?.reader()),
    }
}

fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

fn idle(reader: &mut Reader) -> Result<()> {
    for _ in 0..IDLE {
        reader.read()?;
    }
    Ok(())
}

/// The open socket that has this local and this remote address.
fn of<'a>(reading: &'a Reading, stream: &TcpStream) -> Result<&'a Socket> {
    let ends = (stream.local_addr()?, Some(stream.peer_addr()?));
    let mut found = reading
        .open
        .iter()
        .filter(|socket| (socket.local, socket.remote) == ends);
    let socket = found
        .next()
        .with_context(|| format!("{ends:?} is not listed"))?;
    ensure!(found.next().is_none(), "{ends:?} is listed twice");
    Ok(socket)
}

fn payload(reading: &Reading, stream: &TcpStream) -> Result<(u64, u64)> {
    let Payload { tx_bytes, rx_bytes } = of(reading, stream)?.payload.context("no payload")?;
    Ok((tx_bytes, rx_bytes))
}

fn exchange(mut from: &TcpStream, mut to: &TcpStream, length: usize) -> Result<()> {
    from.write_all(&vec![7; length])?;
    to.read_exact(&mut vec![0; length])?;
    Ok(())
}

/// The kernel's own smoothed round-trip time and its variation, microseconds.
fn tcp_info(stream: &TcpStream) -> Result<(u32, u32)> {
    // `tcpi_rtt` and `tcpi_rttvar` of `struct tcp_info`
    let mut info = [0u32; 26];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok((info[17], info[18]))
}

fn check_times(reading: &Reading, stream: &TcpStream) -> Result<()> {
    let rtt = of(reading, stream)?.rtt.context("no round-trip time")?;
    let shown = (
        rtt.smoothed.as_micros(),
        rtt.variation.unwrap_or_default().as_micros(),
    );
    let (smoothed, variation) = tcp_info(stream)?;
    ensure!(
        shown == (smoothed.into(), variation.into()),
        "{shown:?} µs, the kernel says {smoothed} and {variation}"
    );
    Ok(())
}

fn is_open(reading: &Reading, id: SocketId) -> bool {
    reading.open.iter().any(|socket| socket.id == id)
}

fn changes() -> Result<()> {
    let mut reader = reader()?;
    let (client, server) = connection()?;
    for (round, length) in [1, 100, 70_000, 3].into_iter().enumerate() {
        let before = payload(&reader.read()?, &client)?.0;
        idle(&mut reader)?;
        exchange(&client, &server, length)?;
        thread::sleep(ACKNOWLEDGED);
        let reading = reader.read()?;
        let expected = (before + length as u64, 0);
        let moved = payload(&reading, &client)?;
        ensure!(moved == expected, "round {round}: {moved:?}, not {expected:?}");
        ensure!(payload(&reading, &server)? == (0, expected.0), "round {round}");
        idle(&mut reader)?;
        let reading = reader.read()?;
        check_times(&reading, &client)?;
        ensure!(payload(&reading, &client)? == expected, "while idle, {round}");
    }

    nix::unistd::fchown(client.as_fd(), Some(USER.into()), None)?;
    let mut readings = 0..=WHOLE_EVERY;
    while of(&reader.read()?, &client)?.uid != Some(USER) {
        ensure!(readings.next().is_some(), "the user stays the old one");
    }

    idle(&mut reader)?;
    server.shutdown(Shutdown::Write)?;
    (&client).read_to_end(&mut Vec::new())?;
    thread::sleep(ACKNOWLEDGED);
    let reading = reader.read()?;
    let states = (of(&reading, &client)?.state, of(&reading, &server)?.state);
    let expected = (SocketState::CloseWait, SocketState::FinWait2);
    ensure!(states == expected, "{states:?}");

    idle(&mut reader)?;
    let id = of(&reader.read()?, &client)?.id;
    drop((client, server));
    let reading = reader.read()?;
    ensure!(!is_open(&reading, id), "still open");
    let ends = reading.closed.iter().filter(|socket| socket.id == id);
    ensure!(ends.count() == 1, "its end is not told once");
    Ok(())
}

fn among_many() -> Result<()> {
    let mut reader = reader()?;
    let mut pairs = Vec::new();
    for _ in 0..IDLE_SOCKETS / 2 {
        let (client, server) = connection()?;
        pairs.push((client, server, 0));
    }
    for round in 0..12 {
        idle(&mut reader)?;
        let (client, server, _) = pairs.swap_remove(round * 7 % pairs.len());
        let ends = [of(&reader.read()?, &client)?.id, of(&reader.read()?, &server)?.id];
        drop((client, server));
        let place = round * 5 % pairs.len();
        let (from, to, sent) = pairs.get_mut(place).context("no pair")?;
        exchange(from, to, 1000 + round)?;
        *sent += 1000 + round as u64;
        let reading = reader.read()?;
        check_sent(&reading, from, *sent).with_context(|| format!("round {round}"))?;
        let are_open = |reading: &Reading| ends.iter().any(|id| is_open(reading, *id));
        // The last acknowledgement may be on its way.
        let mut readings = 0..20;
        let mut is_open = are_open(&reading);
        while is_open {
            ensure!(readings.next().is_some(), "round {round}: an ended socket is open");
            thread::sleep(ACKNOWLEDGED);
            is_open = are_open(&reader.read()?);
        }
        for (client, server, _) in &pairs {
            of(&reading, client)?;
            of(&reading, server)?;
        }
        let process = reading.processes.iter().find(|process| match process.id {
            Attribution::Process(id) => id.pid.0 == std::process::id(),
            _ => false,
        });
        let owned = process.context("this process has no row")?.sockets as usize;
        ensure!(owned >= 2 * pairs.len(), "round {round}: {owned} sockets");
    }
    Ok(())
}

/// That all that was sent is in the row; less, where runs of programs were missed and the row
/// says so.
fn check_sent(reading: &Reading, stream: &TcpStream, sent: u64) -> Result<()> {
    let (seen, _) = payload(reading, stream)?;
    let is_less = of(reading, stream)?.accuracy != Accuracy::Exact && reading.lost.missed_runs > 0;
    ensure!(
        seen == sent || is_less && seen < sent,
        "{seen} of {sent} sent, {:?}",
        reading.lost
    );
    Ok(())
}
