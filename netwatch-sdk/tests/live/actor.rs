//! One traffic process: what it was told to do, and how it tells what it did.

use std::{
    fs,
    io::{self, BufRead},
    net::SocketAddr,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use crate::{
    counted::Counted,
    shape::{self, Shape},
    truth::{Event, Moved, ProcessTruth},
};

/// A part in a shape.
pub(crate) type Act = fn(&Actor) -> Result<()>;

/// The host cannot do what a shape needs. Reported as such, not as a failure.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// The host lacks `what`; `cause` is how it said so.
pub(crate) fn unavailable(what: &str, cause: impl std::fmt::Display) -> anyhow::Error {
    Unavailable(format!("{what}: {cause}")).into()
}

/// This process and its task.
pub(crate) struct Actor {
    pub(crate) shape: &'static Shape,
    /// Where to send to.
    pub(crate) peers: Vec<SocketAddr>,
    /// What an earlier program of this process left for this one.
    pub(crate) inherited: Vec<u64>,
}

/// `live workload SHAPE ROLE [ADDRESS…] [NUMBER…]`
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let outcome = start(arguments);
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let event = match error.downcast_ref::<Unavailable>() {
        Some(Unavailable(reason)) => Event::Unavailable {
            reason: reason.clone(),
        },
        None => Event::Failed {
            reason: format!("{}: {error:#}", arguments.join(" ")),
        },
    };
    match tell(&event) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(arguments: &[String]) -> Result<()> {
    let [name, role, rest @ ..] = arguments else {
        bail!("usage: live workload SHAPE ROLE [ADDRESS…] [NUMBER…]");
    };
    let shape = shape::named(name).with_context(|| format!("no shape {name}"))?;
    let act = shape
        .act(role)
        .with_context(|| format!("no role {role} in {name}"))?;
    let mut actor = Actor {
        shape,
        peers: Vec::new(),
        inherited: Vec::new(),
    };
    for argument in rest {
        match argument.parse() {
            Ok(address) => actor.peers.push(address),
            Err(_) => actor.inherited.push(argument.parse()?),
        }
    }
    act(&actor)
}

impl Actor {
    /// The address to send to.
    pub(crate) fn peer(&self) -> Result<SocketAddr> {
        self.peers.first().copied().context("needs an address")
    }

    /// Tells others where to send to.
    pub(crate) fn ready(&self, sockets: &[&Counted]) -> Result<()> {
        let reachable = |socket: &&Counted| {
            let mut address = socket.local()?;
            if address.ip().is_unspecified() {
                address.set_ip(self.shape.family.loopback());
            }
            Ok(address)
        };
        let addresses = sockets.iter().map(reachable).collect::<Result<_>>()?;
        tell(&Event::Ready { addresses })
    }

    /// Tells what moved, then keeps the sockets open until the test has looked.
    pub(crate) fn finish(&self, sockets: &[&Counted]) -> Result<()> {
        report(sockets, true)?;
        hold()
    }

    /// Waits for the test's word to go on.
    pub(crate) fn pause(&self, at: &str) -> Result<()> {
        tell(&Event::Paused { at: at.to_owned() })?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(())
    }
}

/// Tells who this process is and what it moved. `stays`: it then waits for the test.
pub(crate) fn report(sockets: &[&Counted], stays: bool) -> Result<()> {
    tell(&Event::Process(myself(stays)?))?;
    for socket in sockets {
        tell(&Event::Moved(Moved {
            held: stays,
            ..socket.moved()?
        }))?;
    }
    tell(&Event::Done {
        pid: std::process::id(),
    })
}

/// Waits until the test closes this process's input.
pub(crate) fn hold() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Writes one event with one call, so that processes can share the pipe.
pub(crate) fn tell(event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    // SAFETY: descriptor 1 is this process's standard output and stays open.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    let written = nix::unistd::write(stdout, &line)?;
    anyhow::ensure!(written == line.len(), "short write of an event");
    Ok(())
}

/// This process by its own files in /proc.
pub(crate) fn myself(stays: bool) -> Result<ProcessTruth> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let started = after_name
        .split_whitespace()
        .nth(19)
        .context("short stat")?;
    Ok(ProcessTruth {
        pid: std::process::id(),
        started_ticks: started.parse()?,
        name: fs::read_to_string("/proc/self/comm")?.trim_end().to_owned(),
        uid: nix::unistd::geteuid().as_raw(),
        netns: fs::metadata("/proc/self/ns/net")?.ino(),
        stays,
    })
}
