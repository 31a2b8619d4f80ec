//! Bytes that never pass through a buffer of the process.

use std::{io::Write, os::fd::OwnedFd};

use anyhow::{Result, ensure};
use nix::{
    fcntl::{SpliceFFlags, splice},
    sys::sendfile::sendfile,
    unistd,
};

use super::stream;
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::Counted,
    shape::Shape,
};

const TOTAL: usize = 1_500_007;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-sendfile",
        about: "a file to a TCP socket by sendfile",
        serve: Some(receive),
        drive: send_file,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-splice-to-socket",
        about: "a pipe to a TCP socket by splice",
        serve: Some(receive),
        drive: pipe_to_socket,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-splice-from-socket",
        about: "a TCP socket to a pipe by splice, to the end of the stream",
        serve: Some(socket_to_pipe),
        drive: send_and_shut,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-splice-and-recv",
        about: "one TCP socket read by splice and by recv in turns",
        serve: Some(splice_and_recv),
        drive: send,
        ..Shape::BASE
    },
];

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, TOTAL, 64 * 1024)?;
    actor.finish(&[&listener, &socket])
}

fn send(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, TOTAL, 64 * 1024)?;
    actor.finish(&[&socket])
}

fn send_and_shut(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, TOTAL, 64 * 1024)?;
    socket.shutdown()?;
    actor.finish(&[&socket])
}

fn send_file(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    from_file(&socket, TOTAL)?;
    actor.finish(&[&socket])
}

/// Bytes of a file, by sendfile.
pub(super) fn from_file(socket: &Counted, total: usize) -> Result<()> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&calls::pattern(total))?;
    let mut offset = 0;
    while offset < total as i64 {
        let sent = sendfile(socket, &file, Some(&mut offset), total)?;
        ensure!(sent > 0, "sendfile took nothing at {offset}");
        socket.sent(sent);
    }
    Ok(())
}

fn pipe_to_socket(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    to_socket(&socket, TOTAL)?;
    actor.finish(&[&socket])
}

/// Bytes of a pipe.
pub(super) fn to_socket(socket: &Counted, total: usize) -> Result<()> {
    let (from, into) = unistd::pipe()?;
    let bytes = calls::pattern(16_384);
    let mut left = total;
    while left > 0 {
        let filled = unistd::write(&into, &bytes[..left.min(bytes.len())])?;
        let mut piped = filled;
        while piped > 0 {
            let moved = splice(&from, None, socket, None, piped, SpliceFFlags::empty())?;
            ensure!(moved > 0, "splice took nothing");
            piped -= socket.sent(moved);
        }
        left -= filled;
    }
    Ok(())
}

fn socket_to_pipe(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let (_from, into) = from_socket(&socket, TOTAL)?;
    let more = splice(&socket, None, &into, None, 1, SpliceFFlags::empty())?;
    ensure!(more == 0, "bytes after the last");
    actor.finish(&[&listener, &socket])
}

/// Bytes into a pipe, which is returned empty.
pub(super) fn from_socket(socket: &Counted, total: usize) -> Result<(OwnedFd, OwnedFd)> {
    let (from, into) = unistd::pipe()?;
    let mut left = total;
    while left > 0 {
        left -= splice_once(socket, &from, &into, left)?;
    }
    Ok((from, into))
}

fn splice_and_recv(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let (from, into) = unistd::pipe()?;
    let mut left = TOTAL;
    let mut turn = 0;
    while left > 0 {
        turn += 1;
        left -= if turn % 2 == 0 {
            splice_once(&socket, &from, &into, left)?
        } else {
            let mut buffer = vec![0; left.min(20_000)];
            calls::recv(&socket, &mut buffer)?
        };
    }
    actor.finish(&[&listener, &socket])
}

/// At most 16 KiB from a socket to a pipe, which is emptied again.
fn splice_once(socket: &Counted, from: &OwnedFd, into: &OwnedFd, left: usize) -> Result<usize> {
    let size = left.min(16_384);
    let moved = splice(socket, None, into, None, size, SpliceFFlags::empty())?;
    ensure!(moved > 0, "the peer closed");
    let mut buffer = vec![0; moved];
    let mut emptied = 0;
    while emptied < moved {
        emptied += unistd::read(from, &mut buffer)?;
    }
    Ok(socket.received(moved))
}
