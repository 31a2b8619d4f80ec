//! Several processes that accept on one port.

use std::{
    num::NonZeroUsize,
    os::fd::AsFd,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Instant,
};

use anyhow::{Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        mman::{MapFlags, ProtFlags, mmap_anonymous},
        socket::{setsockopt, sockopt},
    },
};

use crate::{
    actor::{Actor, hold, report},
    calls::{self, receive_all, send_all},
    counted::{CALL_LIMIT, Counted},
    family,
    shape::Shape,
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-reuseport",
        about: "four processes that listen on one port (SO_REUSEPORT)",
        serve: Some(own_listeners),
        drive: visit,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-prefork",
        about: "four processes that accept from a listener their parent made",
        serve: Some(one_listener),
        drive: visit,
        ..Shape::BASE
    },
];

const WORKERS: usize = 4;
const VISITS: usize = 40;

/// Every visit has a size of its own.
const fn size(visit: usize) -> usize {
    1_000 + visit * 37
}

fn visit(actor: &Actor) -> Result<()> {
    let mut sockets = Vec::new();
    for visit in 0..VISITS {
        let mut socket = Counted::tcp(actor.shape.family)?;
        socket.connect(actor.peer()?)?;
        send_all(calls::send, &socket, size(visit), 500)?;
        socket.shutdown()?;
        receive_all(calls::recv, &socket, 11, 11)?;
        sockets.push(socket);
    }
    actor.finish(&sockets.iter().collect::<Vec<_>>())
}

fn own_listeners(actor: &Actor) -> Result<()> {
    let served = counter()?;
    let reserved = Counted::tcp(actor.shape.family)?;
    setsockopt(&reserved, sockopt::ReusePort, &true)?;
    reserved.bind_served(actor.shape.family)?;
    let address = reserved.local()?;
    let ready = counter()?;
    family::expect(WORKERS)?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(family::spawn(|| {
            let listener = Counted::tcp(actor.shape.family)?;
            setsockopt(&listener, sockopt::ReusePort, &true)?;
            listener.bind(address)?;
            let listener = listener.listen()?;
            ready.fetch_add(1, SeqCst);
            let mut sockets = serve(&listener, served)?;
            sockets.insert(0, listener);
            report(&sockets.iter().collect::<Vec<_>>(), true)?;
            hold()
        })?);
    }
    let started = Instant::now();
    while ready.load(SeqCst) < WORKERS {
        ensure!(started.elapsed() < CALL_LIMIT, "the workers did not start");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    actor.ready(&[&reserved])?;
    drop(reserved);
    actor.finish(&[])?;
    family::wait_all(&workers)
}

fn one_listener(actor: &Actor) -> Result<()> {
    let served = counter()?;
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    family::expect(WORKERS)?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(family::spawn(|| {
            let sockets = serve(&listener, served)?;
            report(&sockets.iter().collect::<Vec<_>>(), true)?;
            hold()
        })?);
    }
    actor.finish(&[&listener])?;
    family::wait_all(&workers)
}

/// Serves until all workers together have served every visit.
fn serve(listener: &Counted, served: &AtomicUsize) -> Result<Vec<Counted>> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let started = Instant::now();
    let mut sockets = Vec::new();
    while served.load(SeqCst) < VISITS {
        if started.elapsed() > CALL_LIMIT {
            bail!("{} of {VISITS} served", served.load(SeqCst));
        }
        let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::from(20_u8))? == 0 {
            continue;
        }
        // Another worker may have been faster.
        let Ok(socket) = listener.accept() else {
            continue;
        };
        calls::receive_rest(calls::recv, &socket)?;
        send_all(calls::send, &socket, 11, 11)?;
        sockets.push(socket);
        served.fetch_add(1, SeqCst);
    }
    Ok(sockets)
}

/// A number that this process and its children share.
fn counter() -> Result<&'static AtomicUsize> {
    let size = NonZeroUsize::MIN.saturating_add(4095);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new page at a place of the kernel's choice.
    let page = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_SHARED) }?;
    // SAFETY: the page is aligned, zero (a valid AtomicUsize), and never unmapped.
    Ok(unsafe { page.cast::<AtomicUsize>().as_ref() })
}
