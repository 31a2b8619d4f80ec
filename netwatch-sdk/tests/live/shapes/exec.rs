//! Processes that change their name.

use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::stream;
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::Counted,
    family, programs,
    shape::Shape,
};

const BEFORE: usize = 50_021;
const AFTER: usize = 70_003;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-exec",
        about: "a process that runs another program in the middle: one pid, the new name",
        serve: Some(receive),
        drive: before,
        more: &[("after", after)],
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-renamed",
        about: "a process that renames itself in the middle: the new name",
        serve: Some(receive),
        drive: renamed,
        ..Shape::BASE
    },
];

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, BEFORE + AFTER, 10_000)?;
    actor.finish(&[&listener, &socket])
}

fn before(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, BEFORE, 10_000)?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let (tx, _) = socket.counts();
    let mut next = programs::workload("after-exec", &actor.shape.name(), "after")?;
    next.args([socket.raw().to_string(), tx.to_string()]);
    Err(programs::become_program(&mut next)).context("exec")
}

fn after(actor: &Actor) -> Result<()> {
    let [fd, tx] = actor.inherited[..] else {
        anyhow::bail!("needs a descriptor and a count");
    };
    // SAFETY: the program before this one left the descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
    let mut socket = Counted::lent(fd)?.continuing(tx, 0).owning();
    socket.outgoing()?;
    send_all(calls::send, &socket, AFTER, 10_000)?;
    actor.finish(&[&socket])
}

fn renamed(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, BEFORE, 10_000)?;
    family::rename_thread("a-new-name")?;
    send_all(calls::send, &socket, AFTER, 10_000)?;
    actor.finish(&[&socket])
}
