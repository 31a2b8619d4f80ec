//! UDP: connected and not, by each pair of calls. Every datagram is answered
//! before the next leaves, so that none is dropped at a full buffer.

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{self, MsgFlags, SockaddrStorage},
};

use crate::{
    actor::Actor,
    calls,
    counted::Counted,
    shape::{Family, Pairing, Shape},
};

const ROUNDS: usize = 200;
const REQUEST: usize = 1_173;
const ANSWER: usize = 411;
/// Sent last, and answered by nothing: the server stops.
const BYE: usize = 1;

const CONNECTED: Shape = Shape {
    serve: Some(answer),
    drive: ask,
    size: REQUEST,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "udp-read-write",
        about: "connected UDP by write and read",
        send: calls::write,
        receive: calls::read,
        ..CONNECTED
    },
    Shape {
        stem: "udp-readv-writev",
        about: "connected UDP by writev and readv",
        send: calls::writev,
        receive: calls::readv,
        ..CONNECTED
    },
    Shape {
        stem: "udp-sendmsg-recvmsg",
        about: "connected UDP by sendmsg and recvmsg",
        send: calls::sendmsg,
        receive: calls::recvmsg,
        ..CONNECTED
    },
    Shape {
        stem: "udp-empty-datagrams",
        about: "UDP datagrams without payload between others",
        serve: Some(empty_serve),
        drive: empty_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-short-buffer",
        about: "UDP datagrams read into a buffer that is too small: the rest is gone and not counted",
        pairing: Pairing::Partial,
        serve: Some(short_serve),
        drive: short_drive,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-closed-port",
        about: "UDP to a port nobody has: what send accepted counts, what it refused does not",
        pairing: Pairing::Partial,
        drive: to_closed_port,
        ..Shape::BASE
    },
];

pub(super) fn every_family() -> impl Iterator<Item = Shape> {
    let kinds = [
        Shape {
            stem: "udp-connected",
            about: "connected UDP by send and recv",
            ..CONNECTED
        },
        Shape {
            stem: "udp-several-destinations",
            about: "one UDP socket, not connected, to three receivers",
            serve: Some(three_receivers),
            drive: three_destinations,
            ..Shape::BASE
        },
        Shape {
            stem: "udp-sendmmsg-recvmmsg",
            about: "eight UDP datagrams a call by sendmmsg and recvmmsg",
            serve: Some(batch_serve),
            drive: batch_drive,
            send: calls::sendmmsg,
            receive: calls::recvmmsg,
            ..Shape::BASE
        },
    ];
    let over = |shape: Shape| Family::ALL.map(|family| shape.over(family));
    kinds.into_iter().flat_map(over)
}

/// A bound UDP socket that others were told of.
pub(super) fn bind_one(actor: &Actor) -> Result<Counted> {
    let socket = bound(actor)?;
    actor.ready(&[&socket])?;
    Ok(socket)
}

fn bound(actor: &Actor) -> Result<Counted> {
    let socket = Counted::udp(actor.shape.family)?;
    socket.bind_served(actor.shape.family)?;
    Ok(socket)
}

/// A UDP socket connected to the peer.
pub(super) fn connect_one(actor: &Actor) -> Result<Counted> {
    let mut socket = Counted::udp(actor.shape.family)?;
    socket.connect(actor.peer()?)?;
    Ok(socket)
}

/// Receives one datagram and its sender.
pub(super) fn receive_from(
    socket: &Counted,
    buffer: &mut [u8],
) -> Result<(usize, SockaddrStorage)> {
    let (size, from) = socket::recvfrom::<SockaddrStorage>(socket.raw(), buffer)?;
    Ok((socket.received(size), from.context("no sender")?))
}

/// Sends one datagram to `to`.
pub(super) fn send_to(socket: &Counted, bytes: &[u8], to: &SockaddrStorage) -> Result<usize> {
    let sent = socket::sendto(socket.raw(), bytes, to, MsgFlags::empty())?;
    Ok(socket.sent(sent))
}

/// Answers with the shape's calls, on a socket connected to the first sender.
fn answer(actor: &Actor) -> Result<()> {
    let mut server = bind_one(actor)?;
    let mut buffer = vec![0; 4096];
    let (_, from) = receive_from(&server, &mut buffer)?;
    let client = socket_address(&from)?;
    server.connect(client)?;
    loop {
        (actor.shape.send)(&server, &mut calls::pattern(ANSWER))?;
        if (actor.shape.receive)(&server, &mut buffer)? == BYE {
            break;
        }
    }
    actor.finish(&[&server])
}

fn ask(actor: &Actor) -> Result<()> {
    let client = connect_one(actor)?;
    let mut buffer = vec![0; 4096];
    for _ in 0..ROUNDS {
        (actor.shape.send)(&client, &mut calls::pattern(REQUEST))?;
        let size = (actor.shape.receive)(&client, &mut buffer)?;
        ensure!(size == ANSWER, "an answer of {size} bytes");
    }
    (actor.shape.send)(&client, &mut calls::pattern(BYE))?;
    actor.finish(&[&client])
}

fn three_receivers(actor: &Actor) -> Result<()> {
    let (first, second, third) = (bound(actor)?, bound(actor)?, bound(actor)?);
    let sockets = [&first, &second, &third];
    actor.ready(&sockets)?;
    let mut buffer = vec![0; 4096];
    for (at, socket) in sockets.iter().enumerate() {
        for _ in 0..ROUNDS {
            let (_, from) = receive_from(socket, &mut buffer)?;
            send_to(socket, &calls::pattern(ANSWER + at), &from)?;
        }
    }
    actor.finish(&sockets)
}

fn three_destinations(actor: &Actor) -> Result<()> {
    let client = Counted::udp(actor.shape.family)?;
    let mut buffer = vec![0; 4096];
    for (at, peer) in actor.peers.iter().enumerate() {
        let to = SockaddrStorage::from(*peer);
        for _ in 0..ROUNDS {
            send_to(&client, &calls::pattern(REQUEST + at), &to)?;
            receive_from(&client, &mut buffer)?;
        }
    }
    ensure!(actor.peers.len() == 3, "needs three addresses");
    actor.finish(&[&client])
}

fn batch_serve(actor: &Actor) -> Result<()> {
    let server = bind_one(actor)?;
    let mut buffer = vec![0; calls::BATCH * 1_000];
    let (_, from) = receive_from(&server, &mut buffer)?;
    for _ in 0..ROUNDS {
        send_to(&server, &[0], &from)?;
        let mut batch = 0;
        while batch < calls::BATCH * 777 {
            batch += (actor.shape.receive)(&server, &mut buffer)?;
        }
    }
    actor.finish(&[&server])
}

fn batch_drive(actor: &Actor) -> Result<()> {
    let client = connect_one(actor)?;
    calls::send(&client, &mut [0; 5])?;
    for _ in 0..ROUNDS {
        calls::recv(&client, &mut [0; 8])?;
        let sent = (actor.shape.send)(&client, &mut calls::pattern(calls::BATCH * 777))?;
        ensure!(sent == calls::BATCH * 777, "sendmmsg took {sent} bytes");
    }
    actor.finish(&[&client])
}

fn empty_serve(actor: &Actor) -> Result<()> {
    let server = bind_one(actor)?;
    let mut buffer = vec![0; 4096];
    for _ in 0..100 {
        let (size, from) = receive_from(&server, &mut buffer)?;
        send_to(&server, &buffer[..size], &from)?;
    }
    actor.finish(&[&server])
}

fn empty_drive(actor: &Actor) -> Result<()> {
    let client = connect_one(actor)?;
    let mut buffer = vec![0; 4096];
    for round in 0..100 {
        let size = if round % 2 == 0 { 0 } else { round };
        calls::send(&client, &mut calls::pattern(size))?;
        let echo = calls::recv(&client, &mut buffer)?;
        ensure!(echo == size, "sent {size}, came back {echo}");
    }
    actor.finish(&[&client])
}

fn short_serve(actor: &Actor) -> Result<()> {
    let server = bind_one(actor)?;
    for _ in 0..100 {
        let (size, from) = receive_from(&server, &mut [0; 10])?;
        ensure!(size == 10, "read {size} bytes into a buffer of 10");
        send_to(&server, &[0], &from)?;
    }
    actor.finish(&[&server])
}

fn short_drive(actor: &Actor) -> Result<()> {
    let client = connect_one(actor)?;
    for _ in 0..100 {
        calls::send(&client, &mut calls::pattern(1_000))?;
        calls::recv(&client, &mut [0; 8])?;
    }
    actor.finish(&[&client])
}

fn to_closed_port(actor: &Actor) -> Result<()> {
    let gone = Counted::udp(actor.shape.family)?;
    gone.bind_served(actor.shape.family)?;
    let address = gone.local()?;
    drop(gone);
    let mut client = Counted::udp(actor.shape.family)?;
    client.connect(address)?;
    let mut refused = 0;
    for size in 1..=40 {
        match calls::send(&client, &mut calls::pattern(size)) {
            Ok(_) => {}
            Err(Errno::ECONNREFUSED) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(refused > 0, "no send was refused");
    ensure!(client.counts().0 > 0, "no send was accepted");
    actor.finish(&[&client])
}

fn socket_address(address: &SockaddrStorage) -> Result<std::net::SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|a| (*a).into());
    let v4 = v4.map(std::net::SocketAddr::V4);
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|a| std::net::SocketAddr::V6((*a).into()))
    })
    .context("no IP address")
}
