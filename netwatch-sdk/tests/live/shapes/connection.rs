//! Connections that begin, end or stall in unusual ways.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};

use super::stream;
use crate::{
    actor::Actor,
    calls::{self, receive_all, receive_rest, send_all},
    counted::Counted,
    options,
    shape::{Family, Pairing, Shape},
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-partial-writes",
        about: "non-blocking TCP to a peer that does not read: partial writes, then EAGAIN",
        pairing: Pairing::Partial,
        serve: Some(never_read),
        drive: fill,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-slow-reader",
        about: "non-blocking TCP with partial writes and EAGAIN until all has arrived",
        serve: Some(read_slowly),
        drive: push,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-refused",
        about: "a refused TCP connection moves nothing",
        drive: refused,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-reset",
        about: "a TCP connection reset (SO_LINGER 0) while the peer has unread data",
        pairing: Pairing::Partial,
        serve: Some(reset_serve),
        drive: reset_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-close-unread",
        about: "a TCP socket closed with data unread, which resets the sender",
        pairing: Pairing::Partial,
        serve: Some(close_unread),
        drive: until_reset,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-half-close",
        about: "TCP data sent after the peer closed its side, then closed into TIME_WAIT",
        serve: Some(half_close_serve),
        drive: half_close_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-no-payload",
        about: "a TCP connection that is made and closed without payload",
        serve: Some(empty_serve),
        drive: empty_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-no-payload",
        about: "a TCP connection that is made and closed without payload",
        family: Family::V6,
        serve: Some(empty_serve),
        drive: empty_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-data-before-accept",
        about: "TCP data that arrived before the connection was accepted",
        serve: Some(late_accept),
        drive: early_data,
        ..Shape::BASE
    },
];

fn non_blocking(socket: &Counted) -> Result<()> {
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn never_read(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    actor.finish(&[&listener, &socket])
}

fn fill(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    setsockopt(&socket, sockopt::SndBuf, &200_000)?;
    non_blocking(&socket)?;
    let asked = 70_001;
    let (mut refused, mut partial) = (0, 0);
    for _ in 0..10_000 {
        match calls::send(&socket, &mut calls::pattern(asked)) {
            Ok(sent) => partial += usize::from(sent < asked),
            Err(Errno::EAGAIN) => {
                refused += 1;
                let mut room = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut room, PollTimeout::from(200_u8))? == 0 {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(
        refused > 0 && partial > 0,
        "{refused} refused, {partial} partial"
    );
    actor.finish(&[&socket])
}

const PUSHED: usize = 3_000_001;

fn read_slowly(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, PUSHED, 7_000)?;
    actor.finish(&[&listener, &socket])
}

fn push(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    setsockopt(&socket, sockopt::SndBuf, &50_000)?;
    non_blocking(&socket)?;
    let mut bytes = calls::pattern(500_000);
    let (mut left, mut partial) = (PUSHED, 0);
    while left > 0 {
        let size = left.min(bytes.len());
        match calls::send(&socket, &mut bytes[..size]) {
            Ok(sent) => {
                partial += usize::from(sent < size);
                left -= sent;
            }
            Err(Errno::EAGAIN) => {
                let mut room = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                ensure!(
                    poll(&mut room, PollTimeout::from(10_000_u16))? == 1,
                    "stalled"
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(partial > 0, "no partial write");
    actor.finish(&[&socket])
}

fn refused(actor: &Actor) -> Result<()> {
    let gone = Counted::listening(actor.shape.family)?;
    let address = gone.local()?;
    drop(gone);
    let mut socket = Counted::tcp(actor.shape.family)?.unaddressed();
    match socket.connecting(address) {
        Err(Errno::ECONNREFUSED) => {}
        other => bail!("connect to a closed port gave {other:?}"),
    }
    match calls::send(&socket, &mut calls::pattern(100)) {
        Err(Errno::EPIPE | Errno::ENOTCONN) => {}
        other => bail!("send on a refused connection gave {other:?}"),
    }
    actor.finish(&[&socket])
}

fn reset_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, 4_001, 4_001)?;
    calls::send(&socket, &mut [0])?;
    for _ in 0..1_000 {
        match calls::recv(&socket, &mut [0; 100]) {
            Ok(0) => bail!("closed, not reset"),
            Ok(_) => {}
            Err(Errno::ECONNRESET) => return actor.finish(&[&listener, &socket]),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("never reset")
}

fn reset_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, 10_007, 10_007)?;
    receive_all(calls::recv, &socket, 1, 1)?;
    let hard = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket, sockopt::Linger, &hard)?;
    let moved = socket.moved()?;
    drop(socket);
    crate::actor::tell(&crate::truth::Event::Moved(moved))?;
    actor.finish(&[])
}

fn close_unread(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, 1_003, 1_003)?;
    let mut unread = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    ensure!(
        poll(&mut unread, PollTimeout::from(10_000_u16))? == 1,
        "no data"
    );
    let moved = socket.moved()?;
    drop(socket);
    crate::actor::tell(&crate::truth::Event::Moved(moved))?;
    actor.finish(&[&listener])
}

fn until_reset(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    for _ in 0..10_000 {
        match calls::send(&socket, &mut calls::pattern(2_003)) {
            Ok(_) => std::thread::yield_now(),
            Err(Errno::EPIPE | Errno::ECONNRESET) => return actor.finish(&[&socket]),
            Err(Errno::EAGAIN) => bail!("the peer neither read nor reset"),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("never reset")
}

fn half_close_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let received = receive_rest(calls::recv, &socket)?;
    ensure!(received == 30_011, "{received} bytes before the FIN");
    send_all(calls::send, &socket, 80_021, 10_000)?;
    let moved = socket.moved()?;
    drop(socket);
    crate::actor::tell(&crate::truth::Event::Moved(moved))?;
    actor.finish(&[&listener])
}

fn half_close_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, 30_011, 10_000)?;
    socket.shutdown()?;
    let received = receive_rest(calls::recv, &socket)?;
    ensure!(received == 80_021, "{received} bytes after the FIN");
    let moved = socket.moved()?;
    drop(socket);
    crate::actor::tell(&crate::truth::Event::Moved(moved))?;
    actor.finish(&[])
}

fn empty_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let received = receive_rest(calls::recv, &socket)?;
    ensure!(received == 0, "{received} bytes");
    actor.finish(&[&listener, &socket])
}

fn empty_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    let moved = socket.moved()?;
    drop(socket);
    crate::actor::tell(&crate::truth::Event::Moved(moved))?;
    actor.finish(&[])
}

fn late_accept(actor: &Actor) -> Result<()> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    ensure!(
        poll(&mut waiting, PollTimeout::from(10_000_u16))? == 1,
        "nobody connected"
    );
    // The data is on its way or there already; a pause makes "there" the common case.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let socket = listener.accept().context("late accept")?;
    receive_all(calls::recv, &socket, 20_011, 20_011)?;
    actor.finish(&[&listener, &socket])
}

fn early_data(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, 20_011, 20_011)?;
    let accepted = options::number(&socket, libc::SOL_SOCKET, libc::SO_ERROR)?;
    ensure!(accepted == 0, "error {accepted}");
    actor.finish(&[&socket])
}
