//! Traffic that is not the network's, and sockets that live elsewhere.

use std::os::fd::AsRawFd;

use anyhow::{Result, ensure};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

use super::stream;
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    shape::{Family, Place, Shape},
};

const NAMESPACE: Shape = Shape {
    stem: "tcp-namespace",
    about: "TCP between processes in another network namespace",
    place: Place::Namespace,
    serve: Some(receive),
    drive: send,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[
    NAMESPACE,
    NAMESPACE.over(Family::V6),
    Shape {
        stem: "tcp-among-unix",
        about: "TCP among bytes on Unix and netlink sockets, which do not count",
        serve: Some(receive),
        drive: among_unix,
        ..Shape::BASE
    },
];

const TOTAL: usize = 60_013;

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, TOTAL, 10_000)?;
    send_all(calls::send, &socket, 101, 101)?;
    actor.finish(&[&listener, &socket])
}

fn send(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, TOTAL, 10_000)?;
    receive_all(calls::recv, &socket, 101, 101)?;
    actor.finish(&[&socket])
}

fn among_unix(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    for kind in [SockType::Stream, SockType::Datagram, SockType::SeqPacket] {
        let (left, right) = socket::socketpair(AddressFamily::Unix, kind, None, SockFlag::empty())?;
        for _ in 0..50 {
            let sent = socket::send(left.as_raw_fd(), &[7; 999], MsgFlags::empty())?;
            let received = socket::recv(right.as_raw_fd(), &mut [0; 2_000], MsgFlags::empty())?;
            ensure!(
                sent == 999 && received == 999,
                "sent {sent}, received {received}"
            );
        }
    }
    ensure!(crate::netlink::link_count()? > 0, "no interfaces");
    send_all(calls::send, &socket, TOTAL, 10_000)?;
    receive_all(calls::recv, &socket, 101, 101)?;
    actor.finish(&[&socket])
}
