//! Flags that change what a call's return value means.

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{self, MsgFlags},
};

use std::{net::Ipv4Addr, os::fd::AsFd};

use super::{datagram, stream};
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::Counted,
    options,
    shape::{Pairing, Shape},
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-peek",
        about: "TCP read with MSG_PEEK before each read: a byte counts once",
        serve: Some(peek_serve),
        drive: bulk_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-peek",
        about: "UDP read with MSG_PEEK before each read: a datagram counts once",
        serve: Some(peek_datagrams),
        drive: datagrams_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-trunc",
        about: "TCP discarded with MSG_TRUNC: what the call returned counts",
        serve: Some(trunc_serve),
        drive: bulk_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-trunc",
        about: "UDP read with MSG_TRUNC: the returned datagram length counts",
        serve: Some(trunc_datagrams),
        drive: datagrams_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-error-queue",
        about: "UDP reads of the error queue (IP_RECVERR) return a sent datagram: not received, not counted",
        pairing: Pairing::Partial,
        drive: error_queue,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-urgent",
        about: "a TCP byte sent and read with MSG_OOB",
        serve: Some(urgent_serve),
        drive: urgent_drive,
        ..Shape::BASE
    },
];

const TOTAL: usize = 200_003;

fn bulk_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, TOTAL, 5_000)?;
    actor.finish(&[&socket])
}

fn peek_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    let mut left = TOTAL;
    let mut peeked = 0;
    while left > 0 {
        let mut buffer = [0; 3_001];
        peeked += socket::recv(socket.raw(), &mut buffer, MsgFlags::MSG_PEEK)?;
        left -= calls::recv(&socket, &mut buffer)?;
    }
    ensure!(peeked > 0, "nothing was peeked");
    actor.finish(&[&listener, &socket])
}

fn trunc_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, 100_001, 4_096)?;
    let mut left = TOTAL - 100_001;
    while left > 0 {
        let mut unused = vec![0; left.min(10_000)];
        let discarded = socket::recv(socket.raw(), &mut unused, MsgFlags::MSG_TRUNC)?;
        ensure!(discarded > 0, "the peer closed");
        ensure!(unused.iter().all(|byte| *byte == 0), "bytes were copied");
        left -= socket.received(discarded);
    }
    actor.finish(&[&listener, &socket])
}

fn datagrams_drive(actor: &Actor) -> Result<()> {
    let client = datagram::connect_one(actor)?;
    for _ in 0..100 {
        calls::send(&client, &mut calls::pattern(1_300))?;
        calls::recv(&client, &mut [0; 8])?;
    }
    actor.finish(&[&client])
}

fn peek_datagrams(actor: &Actor) -> Result<()> {
    let server = datagram::bind_one(actor)?;
    let mut buffer = [0; 2_000];
    for _ in 0..100 {
        let peeked = socket::recv(server.raw(), &mut buffer, MsgFlags::MSG_PEEK)?;
        let (size, from) = datagram::receive_from(&server, &mut buffer)?;
        ensure!(peeked == size, "peeked {peeked}, read {size}");
        datagram::send_to(&server, &[0], &from)?;
    }
    actor.finish(&[&server])
}

fn trunc_datagrams(actor: &Actor) -> Result<()> {
    let mut server = datagram::bind_one(actor)?;
    let (_, from) = {
        let mut buffer = [0; 2_000];
        datagram::receive_from(&server, &mut buffer)?
    };
    let to = from.as_sockaddr_in().context("not IPv4")?;
    server.connect(std::net::SocketAddr::V4((*to).into()))?;
    calls::send(&server, &mut [0])?;
    for _ in 1..100 {
        let size = socket::recv(server.raw(), &mut [0; 10], MsgFlags::MSG_TRUNC)?;
        ensure!(size == 1_300, "MSG_TRUNC returned {size}");
        server.received(size);
        calls::send(&server, &mut [0])?;
    }
    actor.finish(&[&server])
}

fn error_queue(actor: &Actor) -> Result<()> {
    let gone = Counted::udp(actor.shape.family)?;
    gone.bind_served(actor.shape.family)?;
    let mut address = gone.local()?;
    drop(gone);
    // Not where another test's socket may get the same port meanwhile.
    address.set_ip(Ipv4Addr::new(127, 0, 0, 2).into());
    let mut client = Counted::udp(actor.shape.family)?;
    options::set(&client, libc::SOL_IP, libc::IP_RECVERR, &1_i32)?;
    client.connect(address)?;
    for _ in 0..20 {
        match calls::send(&client, &mut calls::pattern(777)) {
            Ok(_) | Err(Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut returned = 0;
    for _ in 0..100 {
        let mut wait = [PollFd::new(client.as_fd(), PollFlags::POLLERR)];
        if poll(&mut wait, PollTimeout::from(100_u8))? == 0 {
            break;
        }
        match socket::recv(client.raw(), &mut [0; 2_000], MsgFlags::MSG_ERRQUEUE) {
            Ok(size) => returned += size,
            Err(Errno::EAGAIN | Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(returned > 0, "the error queue gave nothing back");
    ensure!(client.counts().0 > 0, "no send was accepted");
    actor.finish(&[&client])
}

fn urgent_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, 1_000, 1_000)?;
    let mut urgent = [PollFd::new(socket.as_fd(), PollFlags::POLLPRI)];
    ensure!(
        poll(&mut urgent, PollTimeout::from(10_000_u16))? == 1,
        "no urgent byte"
    );
    let mut byte = [0; 4];
    let size = socket::recv(socket.raw(), &mut byte, MsgFlags::MSG_OOB)?;
    ensure!(size == 1 && byte[0] == b'!', "urgent data was {size} bytes");
    socket.received(size);
    calls::send(&socket, &mut [0])?;
    receive_all(calls::recv, &socket, 500, 500)?;
    actor.finish(&[&listener, &socket])
}

fn urgent_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    send_all(calls::send, &socket, 1_000, 1_000)?;
    socket.sent(socket::send(socket.raw(), b"!", MsgFlags::MSG_OOB)?);
    receive_all(calls::recv, &socket, 1, 1)?;
    send_all(calls::send, &socket, 500, 500)?;
    actor.finish(&[&socket])
}
