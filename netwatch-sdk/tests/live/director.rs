//! Starts traffic processes, leads them through a shape and collects their truth.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    actor::Unavailable,
    edges::child::{Report, Started},
    namespace::Namespace,
    programs,
    shape::{Pairing, Place, Shape},
    truth::{Event, Truth, sum},
};

/// No step of a shape takes longer, even under emulation.
const LIMIT: Duration = Duration::from_secs(60);

/// One traffic process that the test started.
pub(crate) struct Running {
    what: String,
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<String>,
    pub(crate) truth: Truth,
    waiting_for: usize,
}

impl Running {
    /// Starts a part of a shape.
    pub(crate) fn start(
        shape: &Shape,
        role: &str,
        peers: &[SocketAddr],
        place: Option<&Namespace>,
    ) -> Result<Self> {
        let what = format!("{} {role}", shape.name());
        // The kernel keeps 15 bytes of it, so most of these names are cut off.
        let name = format!("{role}-{}", shape.name());
        let mut command = programs::workload(&name, &shape.name(), role)?;
        command.args(peers.iter().map(ToString::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(namespace) = place {
            namespace.place(&mut command)?;
        }
        let mut child = command.spawn().with_context(|| format!("start {what}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            what,
            child,
            input,
            events,
            truth: Truth::default(),
            waiting_for: 1,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where this process can be sent to.
    pub(crate) fn ready(&mut self) -> Result<Vec<SocketAddr>> {
        loop {
            if let Event::Ready { addresses } = self.next()? {
                return Ok(addresses);
            }
        }
    }

    /// Until it waits for [`Running::go`].
    pub(crate) fn paused(&mut self) -> Result<()> {
        loop {
            if let Event::Paused { .. } = self.next()? {
                return Ok(());
            }
        }
    }

    /// What its collector said when it was started.
    pub(crate) fn started(&mut self) -> Result<Started> {
        loop {
            if let Event::Started(started) = self.next()? {
                return Ok(started);
            }
        }
    }

    /// What its collector reported.
    pub(crate) fn reported(&mut self) -> Result<Report> {
        loop {
            if let Event::Reported(report) = self.next()? {
                return Ok(report);
            }
        }
    }

    /// Lets it take the next step.
    pub(crate) fn go(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("already released")?;
        Ok(input.write_all(b"go\n")?)
    }

    /// Until it and all processes it started have told everything.
    pub(crate) fn done(&mut self) -> Result<()> {
        while self.waiting_for > 0 {
            self.next()?;
        }
        Ok(())
    }

    /// Lets it end, and waits until it has.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.input = None;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.what);
                return Ok(());
            }
            ensure!(started.elapsed() < LIMIT, "{} does not end", self.what);
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn next(&mut self) -> Result<Event> {
        let line = self.events.recv_timeout(LIMIT);
        let line = line.with_context(|| format!("{} said nothing more", self.what))?;
        let event: Event =
            serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.what))?;
        match &event {
            Event::Unavailable { reason } => return Err(Unavailable(reason.clone()).into()),
            Event::Failed { reason } => bail!("{reason}"),
            Event::Expect { more } => self.waiting_for += more,
            Event::Done { .. } => self.waiting_for -= 1,
            _ => {}
        }
        self.truth.add(event.clone());
        Ok(event)
    }
}

impl Drop for Running {
    /// Ends what was started, by its own process id.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The processes of one run of a shape.
pub(crate) struct Run {
    server: Option<Running>,
    pub(crate) driver: Running,
    /// Keeps the namespace while the processes need it.
    _place: Option<Namespace>,
}

impl Run {
    /// Starts a shape's processes in the place it asks for.
    pub(crate) fn start(shape: &Shape) -> Result<Self> {
        let place = match shape.place {
            Place::Host => None,
            Place::Namespace => Some(Namespace::new()?),
        };
        let mut server = match shape.serve {
            Some(_) => Some(Running::start(shape, "serve", &[], place.as_ref())?),
            None => None,
        };
        let peers = match &mut server {
            Some(server) => server.ready()?,
            None => Vec::new(),
        };
        let driver = Running::start(shape, "drive", &peers, place.as_ref())?;
        Ok(Self {
            server,
            driver,
            _place: place,
        })
    }

    /// Until both sides wait for [`Run::go`].
    pub(crate) fn paused(&mut self) -> Result<()> {
        self.driver.paused()?;
        self.server.as_mut().map_or(Ok(()), Running::paused)
    }

    /// Lets both sides take the next step.
    pub(crate) fn go(&mut self) -> Result<()> {
        if let Some(server) = &mut self.server {
            server.go()?;
        }
        self.driver.go()
    }

    /// Until every process has told everything. Their sockets are still open.
    pub(crate) fn done(&mut self) -> Result<Truth> {
        self.driver.done()?;
        let mut truth = self.driver.truth.clone();
        if let Some(server) = &mut self.server {
            server.done()?;
            truth.add_all(server.truth.clone());
        }
        Ok(truth)
    }

    /// Lets all processes end.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.driver.release()?;
        self.server.as_mut().map_or(Ok(()), Running::release)
    }
}

/// Fails unless the truth agrees with itself: what one side sent, the other received.
pub(crate) fn cross_check(shape: &Shape, truth: &Truth) -> Result<()> {
    let (tx, rx) = truth.total();
    ensure!(!truth.moved.is_empty(), "no process told of a socket");
    match shape.pairing {
        Pairing::Complete => ensure!(tx == rx, "{tx} bytes sent, {rx} received"),
        Pairing::Partial => ensure!(rx <= tx, "{tx} bytes sent, {rx} received"),
    }
    if shape.pairing == Pairing::Partial {
        return Ok(());
    }
    for one in truth.moved.iter().filter(|one| one.protocol == 6) {
        let Some(remote) = one.remote else { continue };
        let mine = |other: &&_| ends(other) == (one.local, Some(remote));
        let theirs = |other: &&_| ends(other) == (remote, Some(one.local));
        let (tx, rx) = sum(truth.moved.iter().filter(mine));
        let (back, forth) = sum(truth.moved.iter().filter(theirs));
        ensure!(
            (tx, rx) == (forth, back),
            "{} to {remote}: {tx} sent and {rx} received, the other end {forth} and {back}",
            one.local
        );
    }
    Ok(())
}

fn ends(moved: &crate::truth::Moved) -> (SocketAddr, Option<SocketAddr>) {
    (moved.local, moved.remote)
}
