//! Traffic whose every packet belongs to a socket: both sides close before
//! either lets go, and no buffer overflows on the way.

use anyhow::{Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::datagram;
use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all, receive_rest, send_all},
    counted::Counted,
    options,
    shape::{Family, Shape},
};

const PLAIN: Shape = Shape {
    stem: "conserve",
    about: "TCP and UDP both ways between two namespaces, for the wire bytes",
    serve: Some(serve),
    drive,
    ..Shape::BASE
};

const SEGMENTS: Shape = Shape {
    stem: "conserve-segments",
    about: "TCP and UDP_SEGMENT between two namespaces, for the wire bytes",
    drive: drive_segments,
    ..PLAIN
};

pub(super) const SHAPES: &[Shape] = &[
    PLAIN,
    PLAIN.over(Family::V6),
    SEGMENTS,
    SEGMENTS.over(Family::V6),
];

pub(super) fn is(shape: &Shape) -> bool {
    SHAPES.iter().any(|one| one.stem == shape.stem)
}

const UP: usize = 2_000_003;
const DOWN: usize = 1_500_007;
const DATAGRAMS: usize = 150;
const SEGMENT: i32 = 700;
const SEGMENTED_CALLS: usize = 30;
/// Full segments a call, and a short one.
const PER_CALL: usize = 12;
/// Small enough that the packets in flight fit every queue.
const WINDOW: usize = 60_000;
/// Sent last: the server stops.
const BYE: usize = 1;

fn tcp(family: Family) -> Result<Counted> {
    let socket = Counted::tcp(family)?;
    setsockopt(&socket, sockopt::RcvBuf, &WINDOW)?;
    Ok(socket)
}

fn serve(actor: &Actor) -> Result<()> {
    let any = (actor.shape.family.unspecified(), 0).into();
    let listener = tcp(actor.shape.family)?;
    listener.bind(any)?;
    let listener = listener.listen()?;
    let datagrams = Counted::udp(actor.shape.family)?;
    datagrams.bind(any)?;
    actor.ready(&[&listener, &datagrams])?;
    let socket = listener.accept()?;
    receive_all(calls::recv, &socket, UP, 30_000)?;
    send_all(calls::send, &socket, DOWN, 30_000)?;
    ensure!(
        receive_rest(calls::recv, &socket)? == 0,
        "bytes after the last"
    );
    socket.shutdown()?;
    loop {
        let (size, from) = datagram::receive_from(&datagrams, &mut [0; 4_096])?;
        if size == BYE {
            break;
        }
        datagram::send_to(&datagrams, &calls::pattern(size / 2), &from)?;
    }
    actor.finish(&[&listener, &socket, &datagrams])
}

fn drive(actor: &Actor) -> Result<()> {
    let (socket, datagrams) = begin(actor)?;
    for round in 0..DATAGRAMS {
        calls::send(&datagrams, &mut calls::pattern(100 + round * 8))?;
        calls::recv(&datagrams, &mut [0; 4_096])?;
    }
    calls::send(&datagrams, &mut [0; BYE])?;
    actor.finish(&[&socket, &datagrams])
}

fn drive_segments(actor: &Actor) -> Result<()> {
    let (socket, datagrams) = begin(actor)?;
    options::set(&datagrams, libc::SOL_UDP, libc::UDP_SEGMENT, &SEGMENT)
        .map_err(|error| unavailable("UDP_SEGMENT", error))?;
    let call = PER_CALL * SEGMENT as usize + 13;
    for _ in 0..SEGMENTED_CALLS {
        let sent = calls::send(&datagrams, &mut calls::pattern(call))?;
        ensure!(sent == call, "send took {sent} of {call}");
        for _ in 0..=PER_CALL {
            calls::recv(&datagrams, &mut [0; 4_096])?;
        }
    }
    calls::send(&datagrams, &mut [0; BYE])?;
    actor.finish(&[&socket, &datagrams])
}

/// The TCP part, from the first SYN to the last FIN, and a UDP socket.
fn begin(actor: &Actor) -> Result<(Counted, Counted)> {
    let [stream, datagram] = actor.peers[..] else {
        anyhow::bail!("needs two addresses");
    };
    let mut socket = tcp(actor.shape.family)?;
    socket.connect(stream)?;
    send_all(calls::send, &socket, UP, 30_000)?;
    receive_all(calls::recv, &socket, DOWN, 30_000)?;
    socket.shutdown()?;
    ensure!(
        receive_rest(calls::recv, &socket)? == 0,
        "bytes after the last"
    );
    let mut datagrams = Counted::udp(actor.shape.family)?;
    datagrams.connect(datagram)?;
    Ok((socket, datagrams))
}
