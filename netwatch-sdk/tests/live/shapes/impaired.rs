//! TCP for a wire with delay or loss: each side also tells the kernel's own figures of its
//! connection, which stays open: packets to a socket in TIME-WAIT are in no row.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::{
    actor::{Actor, hold, report, tell},
    calls::{self, receive_all, send_all},
    counted::Counted,
    options,
    shape::Shape,
    truth::{Event, TcpInfo},
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "paced-requests",
        about: "20 requests and answers on one TCP connection, for round-trip times",
        serve: Some(answer),
        drive: ask,
        ..Shape::BASE
    },
    Shape {
        stem: "lossy-transfer",
        about: "TCP both ways over a wire that loses packets, for retransmissions and wire bytes",
        serve: Some(serve),
        drive,
        ..Shape::BASE
    },
];

pub(super) fn is(shape: &Shape) -> bool {
    SHAPES.iter().any(|one| one.stem == shape.stem)
}

const ROUNDS: usize = 20;
const REQUEST: usize = 301;
/// Longer than a delayed acknowledgement and a retransmission take here.
const SETTLED: Duration = Duration::from_millis(1_500);
/// A packet each way: a wire loses many segments at once where they leave as one.
const EXCHANGES: usize = 100;
const UP: usize = 701;
const DOWN: usize = 1_103;
const BULK: usize = 200_009;

fn answer(actor: &Actor) -> Result<()> {
    let (listener, socket) = accept_one(actor)?;
    for _ in 0..ROUNDS {
        receive_all(calls::recv, &socket, REQUEST, REQUEST)?;
        send_all(calls::send, &socket, REQUEST, REQUEST)?;
    }
    finish(&[&listener, &socket])
}

fn ask(actor: &Actor) -> Result<()> {
    let socket = super::stream::connect_one(actor)?;
    for _ in 0..ROUNDS {
        send_all(calls::send, &socket, REQUEST, REQUEST)?;
        receive_all(calls::recv, &socket, REQUEST, REQUEST)?;
    }
    finish(&[&socket])
}

fn serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = accept_one(actor)?;
    for _ in 0..EXCHANGES {
        receive_all(calls::recv, &socket, UP, UP)?;
        send_all(calls::send, &socket, DOWN, DOWN)?;
    }
    send_all(calls::send, &socket, BULK, 30_000)?;
    finish(&[&listener, &socket])
}

fn drive(actor: &Actor) -> Result<()> {
    let socket = super::stream::connect_one(actor)?;
    for _ in 0..EXCHANGES {
        send_all(calls::send, &socket, UP, UP)?;
        receive_all(calls::recv, &socket, DOWN, DOWN)?;
    }
    receive_all(calls::recv, &socket, BULK, 30_000)?;
    finish(&[&socket])
}

/// Accepts one connection on any address.
fn accept_one(actor: &Actor) -> Result<(Counted, Counted)> {
    let listener = Counted::tcp(actor.shape.family)?;
    listener.bind((actor.shape.family.unspecified(), 0).into())?;
    let listener = listener.listen()?;
    actor.ready(&[&listener])?;
    let socket = listener.accept()?;
    Ok((listener, socket))
}

/// Tells everything once nothing is in flight any more; the last one is the connection.
fn finish(sockets: &[&Counted]) -> Result<()> {
    thread::sleep(SETTLED);
    if let Some(connection) = sockets.last() {
        tell(&Event::Tcp(info(connection)?))?;
    }
    report(sockets, true)?;
    hold()
}

/// `TCP_INFO`, of which these fields lie where they do in every kernel.
fn info(socket: &Counted) -> Result<TcpInfo> {
    const RTT: usize = 17;
    const RTT_VARIATION: usize = 18;
    const TOTAL_RETRANS: usize = 25;
    const MIN_RTT: usize = 37;
    let mut info = [0_u32; 38];
    options::get(socket, libc::SOL_TCP, libc::TCP_INFO, &mut info)?;
    Ok(TcpInfo {
        cookie: socket.cookie()?,
        rtt_us: info[RTT],
        variation_us: info[RTT_VARIATION],
        min_rtt_us: info[MIN_RTT],
        retransmits: info[TOTAL_RETRANS].into(),
    })
}
