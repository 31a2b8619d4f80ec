//! One socket, several processes or threads.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
};

use super::stream;
use crate::{
    actor::{Actor, hold, report},
    calls::{self, receive_all, send_all},
    counted::Counted,
    family,
    shape::Shape,
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-fork-both",
        about: "a TCP socket used by the process that made it and by its child",
        serve: Some(receive),
        drive: fork_both,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-fork-child-only",
        about: "a TCP connection made by a process and used by its child only",
        serve: Some(accepted_by_parent),
        drive: fork_child_only,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-passed",
        about: "a TCP socket passed to another process (SCM_RIGHTS), which goes on with it",
        serve: Some(receive),
        drive: pass,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-passed-idle",
        about: "a TCP socket passed to another process by one that moved nothing on it and is gone",
        serve: Some(receive),
        drive: pass_idle,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-threads",
        about: "four threads with names of their own on one TCP socket, and each on its own",
        serve: Some(threads_serve),
        drive: threads,
        ..Shape::BASE
    },
];

/// What all clients but the threads send in the end.
const TOTAL: usize = 120_019;
const FIRST: usize = 40_003;

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, TOTAL, 10_000)?;
    send_all(calls::send, &socket, 2_003, 2_003)?;
    actor.finish(&[&listener, &socket])
}

fn fork_both(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, FIRST, 10_000)?;
    family::expect(1)?;
    let child = family::spawn(|| {
        let mine = socket.shared()?;
        send_all(calls::send, &mine, TOTAL - FIRST, 10_000)?;
        receive_all(calls::recv, &mine, 1_001, 1_001)?;
        report(&[&mine], true)?;
        hold()
    })?;
    receive_all(calls::recv, &socket, 2_003 - 1_001, 1)?;
    actor.finish(&[&socket])?;
    family::wait_all(&[child])
}

fn fork_child_only(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    family::expect(1)?;
    let child = family::spawn(|| {
        let mine = socket.shared()?;
        send_all(calls::send, &mine, TOTAL, 10_000)?;
        receive_all(calls::recv, &mine, 2_003, 2_003)?;
        report(&[&mine], true)?;
        hold()
    })?;
    actor.finish(&[&socket])?;
    family::wait_all(&[child])
}

/// The parent accepts; the child is the first to move payload, and so the owner,
/// unless a reading in between found the parent holding it.
fn accepted_by_parent(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    family::expect(1)?;
    let child = family::spawn(|| {
        let mine = socket.shared()?.owning();
        receive_all(calls::recv, &mine, TOTAL, 10_000)?;
        send_all(calls::send, &mine, 2_003, 2_003)?;
        report(&[&mine], true)?;
        hold()
    })?;
    actor.finish(&[&listener, &socket])?;
    family::wait_all(&[child])
}

fn pass(actor: &Actor) -> Result<()> {
    let (left, right) = pair()?;
    family::expect(1)?;
    // The child starts before the socket is made, so it can only have it by the message.
    let child = family::spawn(|| {
        let mine = Counted::lent(take(&right)?)?;
        send_all(calls::send, &mine, TOTAL - FIRST, 10_000)?;
        receive_all(calls::recv, &mine, 2_003, 2_003)?;
        mine.remember()?;
        report(&[&mine], true)?;
        hold()
    })?;
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, FIRST, 10_000)?;
    give(&left, socket.raw())?;
    actor.finish(&[&socket])?;
    family::wait_all(&[child])
}

fn pass_idle(actor: &Actor) -> Result<()> {
    let (left, right) = pair()?;
    family::expect(1)?;
    let maker = family::spawn(|| {
        let socket = stream::connect_one(actor)?;
        give(&left, socket.raw())?;
        report(&[&socket], false)
    })?;
    let passed = take(&right)?;
    family::wait_all(&[maker])?;
    let mine = Counted::lent(passed)?;
    mine.remember()?;
    send_all(calls::send, &mine, TOTAL, 10_000)?;
    receive_all(calls::recv, &mine, 2_003, 2_003)?;
    actor.finish(&[&mine])
}

/// A pair of Unix sockets; their bytes are no network traffic.
fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )?)
}

fn give(over: &OwnedFd, passed: RawFd) -> Result<()> {
    let rights = [passed];
    let control = [ControlMessage::ScmRights(&rights)];
    let bytes = [IoSlice::new(b"a socket for you")];
    socket::sendmsg::<()>(over.as_raw_fd(), &bytes, &control, MsgFlags::empty(), None)?;
    Ok(())
}

fn take(over: &OwnedFd) -> Result<OwnedFd> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut bytes = [0; 64];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = socket::recvmsg::<()>(
        over.as_raw_fd(),
        &mut pieces,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let passed = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(passed) => passed.first().copied(),
        _ => None,
    });
    let passed = passed.context("no descriptor came")?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(passed) })
}

const THREADS: usize = 4;
const BY_EACH: usize = 50_021;
const OWN: usize = 3_001;

fn threads_serve(actor: &Actor) -> Result<()> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    let together = listener.accept()?;
    receive_all(calls::recv, &together, THREADS * BY_EACH, 30_000)?;
    let mut sockets = Vec::new();
    for _ in 0..THREADS {
        let own = listener.accept()?;
        receive_all(calls::recv, &own, OWN, OWN)?;
        sockets.push(own);
    }
    let mut all = vec![&listener, &together];
    all.extend(&sockets);
    actor.finish(&all)
}

fn threads(actor: &Actor) -> Result<()> {
    let together = Arc::new(stream::connect_one(actor)?);
    let peer = actor.peer()?;
    let family = actor.shape.family;
    let running: Vec<_> = (0..THREADS)
        .map(|at| {
            let together = Arc::clone(&together);
            thread::spawn(move || -> Result<Counted> {
                family::rename_thread(&format!("thread-{at}"))?;
                send_all(calls::send, &together, BY_EACH, 1_009)?;
                let mut own = Counted::tcp(family)?;
                own.connect(peer)?;
                send_all(calls::send, &own, OWN, 101)?;
                Ok(own)
            })
        })
        .collect();
    let mut sockets = Vec::new();
    for thread in running {
        let ended = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"));
        sockets.push(ended??);
    }
    ensure!(sockets.len() == THREADS, "{} sockets", sockets.len());
    let mut all = vec![&*together];
    all.extend(&sockets);
    actor.finish(&all)
}
