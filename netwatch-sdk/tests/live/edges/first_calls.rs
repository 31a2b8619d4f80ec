//! First calls on accepted sockets while the collector looks for who holds them.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{Builder, Reader};

use crate::{observe::exact, trial::alone};

/// Alone: of so many ended sockets a collector that others share would lose some.
pub(super) fn by_hook() -> Trial {
    alone(
        "first-calls",
        "who moves a socket's first bytes while its owner is looked for does not share it",
        || run(|builder| builder),
    )
}

pub(super) fn in_table() -> Trial {
    alone(
        "table-first-calls",
        "likewise with the records of sockets in a table",
        || run(Builder::in_table),
    )
}

const DURATION: Duration = Duration::from_secs(2);

fn run(settings: fn(Builder) -> Builder) -> Result<()> {
    let collector = match settings(exact()?).start() {
        Err(error) if !nix::unistd::geteuid().is_root() => {
            return Err(crate::actor::unavailable("needs root", error));
        }
        other => other?,
    };
    let mut reader = collector.reader();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let over = AtomicBool::new(false);
    let (seen, shared) = thread::scope(|scope| {
        let using = scope.spawn(|| use_sockets(&listener, &over));
        let result = look(&mut reader, listener.local_addr()?.port());
        over.store(true, Ordering::Relaxed);
        using.join().expect("the thread panicked")?;
        result
    })?;
    ensure!(seen > 0, "no socket was seen to end");
    ensure!(shared == 0, "{shared} of {seen} sockets are called shared");
    Ok(())
}

/// Accepts sockets, and uses each once.
fn use_sockets(listener: &TcpListener, over: &AtomicBool) -> Result<()> {
    const SOCKETS: usize = 16;
    while !over.load(Ordering::Relaxed) {
        let mut pairs = Vec::new();
        for _ in 0..SOCKETS {
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            client.write_all(&[7])?;
            pairs.push((client, listener.accept()?.0));
        }
        for (_, server) in &mut pairs {
            server.read_exact(&mut [0])?;
        }
    }
    Ok(())
}

/// Looks for owners all the time. Returns how many sockets at a port have ended, and how many
/// of them are called shared.
fn look(reader: &mut Reader, port: u16) -> Result<(usize, usize)> {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (mut seen, mut shared) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < DURATION {
        // A reading looks for owners when there is a new socket without one.
        let _client = TcpStream::connect(other.local_addr()?)?;
        let _unused = other.accept().context("accept")?;
        for row in reader.read()?.closed {
            if row.local.port() == port {
                seen += 1;
                shared += usize::from(row.shared);
            }
        }
    }
    Ok((seen, shared))
}
