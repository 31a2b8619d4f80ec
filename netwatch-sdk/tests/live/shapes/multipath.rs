//! Multipath TCP: the socket of the process, not the subflows below it.

use anyhow::Result;
use nix::sys::socket::SockType;

use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all, send_all},
    counted::Counted,
    shape::{Family, Shape},
};

const TOTAL: usize = 400_009;

const SHAPE: Shape = Shape {
    stem: "mptcp",
    about: "multipath TCP: bytes count once, on the process's socket",
    serve: Some(serve),
    drive,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[SHAPE, SHAPE.over(Family::V6)];

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
