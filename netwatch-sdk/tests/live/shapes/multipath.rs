//! Multipath TCP: the socket of the process, not the subflows below it.

use anyhow::Result;
use nix::sys::socket::SockType;

use crate::{
    actor::{Actor, tell, unavailable},
    calls::{self, receive_all, send_all},
    counted::Counted,
    shape::{Family, Shape},
    truth::Event,
};

const TOTAL: usize = 400_009;

const SHAPE: Shape = Shape {
    stem: "mptcp",
    about: "multipath TCP: bytes count once, on the process's socket",
    serve: Some(serve),
    drive,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[
    SHAPE,
    SHAPE.over(Family::V6),
    Shape {
        stem: "mptcp-one-cookie",
        about: "multipath TCP connections to which the kernel gave their listener's cookie",
        serve: Some(serve_several),
        drive: drive_several,
        ..Shape::BASE
    },
];

fn socket(family: Family) -> Result<Counted> {
    Counted::made(family, SockType::Stream, libc::IPPROTO_MPTCP)
        .map_err(|error| unavailable("socket of IPPROTO_MPTCP", error))
}

fn serve(actor: &Actor) -> Result<()> {
    let listener = socket(actor.shape.family)?;
    listener.bind_served(actor.shape.family)?;
    let listener = listener.listen()?;
    actor.ready(&[&listener])?;
    let socket = listener.accept()?;
    receive_all(calls::recv, &socket, TOTAL, 20_000)?;
    send_all(calls::send, &socket, 9_001, 9_001)?;
    actor.finish(&[&listener, &socket])
}

fn drive(actor: &Actor) -> Result<()> {
    let mut socket = socket(actor.shape.family)?;
    socket.connect(actor.peer()?)?;
    send_all(calls::send, &socket, TOTAL, 20_000)?;
    receive_all(calls::recv, &socket, 9_001, 9_001)?;
    actor.finish(&[&socket])
}

const SEVERAL: usize = 4;

/// Every connection has a size of its own.
const fn size(at: usize) -> usize {
    10_000 + at * 1_111
}

fn serve_several(actor: &Actor) -> Result<()> {
    let listener = socket(actor.shape.family)?;
    listener.bind_served(actor.shape.family)?;
    let listener = listener.listen()?;
    // Asking for it makes it; the kernel copies it into each socket that is accepted.
    let cookie = listener.cookie()?;
    actor.ready(&[&listener])?;
    let mut sockets = vec![listener];
    for at in 0..SEVERAL {
        let socket = sockets[0].accept()?;
        receive_all(calls::recv, &socket, size(at), 5_000)?;
        send_all(calls::send, &socket, at + 1, at + 1)?;
        sockets.push(socket);
    }
    if sockets[SEVERAL].cookie()? != cookie {
        return Err(unavailable(
            "one cookie",
            "this kernel gives each socket its own",
        ));
    }
    // One ends before the others.
    let ended = sockets.remove(1);
    let moved = ended.moved()?;
    drop(ended);
    tell(&Event::Moved(moved))?;
    actor.finish(&sockets.iter().collect::<Vec<_>>())
}

fn drive_several(actor: &Actor) -> Result<()> {
    let mut sockets = Vec::new();
    for at in 0..SEVERAL {
        let mut socket = socket(actor.shape.family)?;
        socket.connect(actor.peer()?)?;
        send_all(calls::send, &socket, size(at), 5_000)?;
        receive_all(calls::recv, &socket, at + 1, at + 1)?;
        sockets.push(socket);
    }
    actor.finish(&sockets.iter().collect::<Vec<_>>())
}
