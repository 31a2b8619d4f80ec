//! Calls that wait while another collector comes and goes.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::child::SHAPE;
use crate::{director::Running, trial::alone};

pub(super) fn trials() -> Vec<Trial> {
    vec![alone(
        "waiting-calls",
        "calls that wait while another collector starts and ends are counted",
        run,
    )]
}

/// Every call has begun by then.
const PAUSE: Duration = Duration::from_millis(200);
const MESSAGE: usize = 411;
const STREAM: usize = 20_000_000;

/// The collector cannot read tracefs: what makes up for skipped programs is where they are.
fn run() -> Result<()> {
    let mut child = Running::start(&SHAPE, "three-capabilities", &[], None)?;
    if let Some(refused) = child.started()?.refused {
        bail!("{}: {}", refused.kind, refused.message);
    }
    child.paused()?;
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receiver.recv(&mut [0; MESSAGE]));
        let sending = scope.spawn(move || client.write_all(&vec![0; STREAM]).map(|()| client));
        thread::sleep(PAUSE);
        let mut other = Running::start(&SHAPE, "drive", &[], None)?;
        other.paused()?;
        other.go()?;
        other.done()?;
        other.release()?;
        sender.send(&[0; MESSAGE])?;
        server.read_exact(&mut vec![0; STREAM])?;
        ensure!(receiving.join().expect("no panic")? == MESSAGE, "half a datagram");
        drop(sending.join().expect("no panic")?);
        anyhow::Ok(())
    })?;
    child.go()?;
    let report = child.reported()?;
    let row = report.rows.iter().find(|row| row.pid == std::process::id());
    let moved = (MESSAGE + STREAM) as u64;
    report.check(row.context("no row")?, (moved, moved))?;
    child.done()?;
    child.release()
}
