//! TCP by each pair of calls, in three rhythms, over three kinds of addresses.

use anyhow::Result;

use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::Counted,
    shape::{Family, Shape},
};

/// Not round, so that no buffer size divides it.
const UP: usize = 3_000_017;
const DOWN: usize = 1_000_003;
const ROUNDS: usize = 300;
const REQUEST: usize = 97;
const ANSWER: usize = 1_501;

const BULK: Shape = Shape {
    serve: Some(bulk_serve),
    drive: bulk_drive,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-read-write",
        about: "TCP both ways by write and read",
        send: calls::write,
        receive: calls::read,
        ..BULK
    },
    Shape {
        stem: "tcp-readv-writev",
        about: "TCP both ways by writev and readv",
        send: calls::writev,
        receive: calls::readv,
        ..BULK
    },
    Shape {
        stem: "tcp-sendmsg-recvmsg",
        about: "TCP both ways by sendmsg and recvmsg",
        send: calls::sendmsg,
        receive: calls::recvmsg,
        ..BULK
    },
    Shape {
        stem: "tcp-sendmmsg-recvmmsg",
        about: "TCP both ways by sendmmsg and recvmmsg",
        send: calls::sendmmsg,
        receive: calls::recvmmsg,
        ..BULK
    },
];

pub(super) fn every_family() -> impl Iterator<Item = Shape> {
    let rhythms = [
        Shape {
            stem: "tcp-bulk",
            about: "TCP bulk both ways by send and recv",
            ..BULK
        },
        Shape {
            stem: "tcp-request-response",
            about: "300 requests and answers on one TCP connection",
            serve: Some(answer),
            drive: ask,
            ..Shape::BASE
        },
        Shape {
            stem: "tcp-one-byte-writes",
            about: "TCP in writes and reads of one byte",
            serve: Some(bytewise_serve),
            drive: bytewise_drive,
            ..Shape::BASE
        },
    ];
    let over = |shape: Shape| Family::ALL.map(|family| shape.over(family));
    rhythms.into_iter().flat_map(over)
}

/// One server connection: listens, tells where, accepts.
pub(super) fn accept_one(actor: &Actor) -> Result<(Counted, Counted)> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    let accepted = listener.accept()?;
    Ok((listener, accepted))
}

/// One client connection.
pub(super) fn connect_one(actor: &Actor) -> Result<Counted> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    socket.connect(actor.peer()?)?;
    Ok(socket)
}

fn bulk_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = accept_one(actor)?;
    receive_all(actor.shape.receive, &socket, UP, actor.shape.size)?;
    send_all(actor.shape.send, &socket, DOWN, actor.shape.size)?;
    actor.finish(&[&listener, &socket])
}

fn bulk_drive(actor: &Actor) -> Result<()> {
    let socket = connect_one(actor)?;
    send_all(actor.shape.send, &socket, UP, actor.shape.size)?;
    receive_all(actor.shape.receive, &socket, DOWN, actor.shape.size)?;
    actor.finish(&[&socket])
}

fn answer(actor: &Actor) -> Result<()> {
    let (listener, socket) = accept_one(actor)?;
    for _ in 0..ROUNDS {
        receive_all(actor.shape.receive, &socket, REQUEST, REQUEST)?;
        send_all(actor.shape.send, &socket, ANSWER, ANSWER)?;
    }
    actor.finish(&[&listener, &socket])
}

fn ask(actor: &Actor) -> Result<()> {
    let socket = connect_one(actor)?;
    for _ in 0..ROUNDS {
        send_all(actor.shape.send, &socket, REQUEST, REQUEST)?;
        receive_all(actor.shape.receive, &socket, ANSWER, ANSWER)?;
    }
    actor.finish(&[&socket])
}

fn bytewise_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = accept_one(actor)?;
    receive_all(actor.shape.receive, &socket, 1_009, 1)?;
    send_all(actor.shape.send, &socket, 509, 1)?;
    actor.finish(&[&listener, &socket])
}

fn bytewise_drive(actor: &Actor) -> Result<()> {
    let socket = connect_one(actor)?;
    send_all(actor.shape.send, &socket, 1_009, 1)?;
    receive_all(actor.shape.receive, &socket, 509, 1)?;
    actor.finish(&[&socket])
}
