//! Sockets in a sockmap, whose calls go through the kernel's `tcp_bpf`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::errno::Errno;

use super::{
    splice::{from_file, from_socket, to_socket},
    stream,
};
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::{CALL_LIMIT, Counted},
    shape::{Pairing, Shape},
    sockmap::{Message, SockMap},
};

const UP: usize = 300_007;
const FILE: usize = 50_021;
const DOWN: usize = 7_001;
const ROUNDS: usize = 20;
const MESSAGE: usize = 1_009;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-sockmap",
        about: "TCP sockets in a sockmap without programs",
        serve: Some(|actor| serve(actor, SockMap::new()?)),
        drive: |actor| drive(actor, SockMap::new()?),
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-sockmap-message",
        about: "TCP sockets in a sockmap whose program lets messages pass",
        serve: Some(|actor| serve(actor, SockMap::new()?.with_messages(Message::Pass)?)),
        drive: |actor| drive(actor, SockMap::new()?.with_messages(Message::Pass)?),
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-sockmap-splice",
        about: "TCP sockets in a sockmap without programs, written and read by splice",
        serve: Some(serve_spliced),
        drive: drive_spliced,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-sockmap-stream",
        about: "TCP sockets in a sockmap whose programs let pass what arrives",
        serve: Some(answer),
        drive: ask,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-sockmap-redirect",
        about: "messages on one TCP socket that a sockmap's program sends on another",
        pairing: Pairing::Partial,
        serve: Some(serve_second),
        drive: redirect,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-sockmap-deliver",
        about: "messages on one TCP socket that a sockmap's program gives to another on this host",
        pairing: Pairing::Partial,
        serve: Some(serve_none),
        drive: deliver,
        ..Shape::BASE
    },
];

/// A call that waits in vain for what the map's programs pass on fails with EAGAIN.
fn recv(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let started = Instant::now();
    loop {
        match calls::recv(socket, buffer) {
            Err(Errno::EAGAIN) if started.elapsed() < CALL_LIMIT => {
                thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

fn serve(actor: &Actor, map: SockMap) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    map.insert(0, &socket)?;
    send_all(calls::send, &socket, DOWN, 1_000)?;
    receive_all(recv, &socket, UP + FILE, 16_000)?;
    actor.finish(&[&listener, &socket])
}

fn drive(actor: &Actor, map: SockMap) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    map.insert(0, &socket)?;
    receive_all(recv, &socket, DOWN, DOWN)?;
    send_all(calls::send, &socket, UP, 10_000)?;
    from_file(&socket, FILE)?;
    actor.finish(&[&socket])
}

fn serve_spliced(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let map = SockMap::new()?;
    map.insert(0, &socket)?;
    from_socket(&socket, UP)?;
    actor.finish(&[&listener, &socket])
}

fn drive_spliced(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    let map = SockMap::new()?;
    map.insert(0, &socket)?;
    to_socket(&socket, UP)?;
    actor.finish(&[&socket])
}

/// In turns, and not before both sockets are in their maps. Whose turn it is comes on another
/// connection, when all has arrived: what arrives during a call on the socket can stay where
/// neither the programs nor any call sees it. Before Linux 5.13 the call waits for what the
/// programs have taken; later kernels run the parser once more, and then it may take what is
/// not read yet for read (`tcp_bpf_strp_read_sock`).
fn answer(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let control = listener.accept()?;
    let map = SockMap::new()?.with_streams()?;
    map.insert(0, &socket)?;
    pass_turn(&control)?;
    for _ in 0..ROUNDS {
        await_turn(&control)?;
        receive_all(recv, &socket, MESSAGE, MESSAGE)?;
        send_all(calls::send, &socket, DOWN, DOWN)?;
        pass_turn(&control)?;
    }
    actor.finish(&[&listener, &socket, &control])
}

fn ask(actor: &Actor) -> Result<()> {
    let [socket, control] = two(actor)?;
    let map = SockMap::new()?.with_streams()?;
    map.insert(0, &socket)?;
    await_turn(&control)?;
    for _ in 0..ROUNDS {
        send_all(calls::send, &socket, MESSAGE, MESSAGE)?;
        pass_turn(&control)?;
        await_turn(&control)?;
        receive_all(recv, &socket, DOWN, 1_000)?;
    }
    actor.finish(&[&socket, &control])
}

fn pass_turn(control: &Counted) -> Result<()> {
    send_all(calls::send, control, 1, 1)
}

fn await_turn(control: &Counted) -> Result<()> {
    receive_all(calls::recv, control, 1, 1)
}

fn two(actor: &Actor) -> Result<[Counted; 2]> {
    Ok([stream::connect_one(actor)?, stream::connect_one(actor)?])
}

fn serve_second(actor: &Actor) -> Result<()> {
    let (listener, first) = stream::accept_one(actor)?;
    let second = listener.accept()?;
    receive_all(recv, &second, ROUNDS * MESSAGE, 16_000)?;
    send_all(calls::send, &second, DOWN, DOWN)?;
    actor.finish(&[&listener, &first, &second])
}

fn redirect(actor: &Actor) -> Result<()> {
    let [first, second] = two(actor)?;
    let to = SockMap::new()?;
    to.insert(0, &second)?;
    let map = SockMap::new()?.with_messages(Message::Redirect(&to))?;
    map.insert(0, &first)?;
    send_all(calls::send, &first, ROUNDS * MESSAGE, MESSAGE)?;
    receive_all(recv, &second, DOWN, DOWN)?;
    actor.finish(&[&first, &second])
}

fn serve_none(actor: &Actor) -> Result<()> {
    let (listener, first) = stream::accept_one(actor)?;
    let second = listener.accept()?;
    actor.finish(&[&listener, &first, &second])
}

fn deliver(actor: &Actor) -> Result<()> {
    let [first, second] = two(actor)?;
    let to = SockMap::new()?;
    to.insert(0, &second)?;
    let map = SockMap::new()?.with_messages(Message::Deliver(&to))?;
    map.insert(0, &first)?;
    for _ in 0..ROUNDS {
        send_all(calls::send, &first, MESSAGE, MESSAGE)?;
        receive_all(recv, &second, MESSAGE, MESSAGE)?;
    }
    actor.finish(&[&first, &second])
}
