//! UDP where one call is not one datagram: corking, UDP_SEGMENT, UDP_GRO.

use anyhow::{Result, ensure};
use nix::sys::socket::{self, MsgFlags};

use super::datagram;
use crate::{
    actor::{Actor, unavailable},
    calls,
    counted::Counted,
    options,
    shape::{Family, Shape},
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "udp-cork-more",
        about: "UDP datagrams put together from three calls with MSG_MORE",
        serve: Some(whole_datagrams),
        drive: with_more,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-cork-option",
        about: "UDP datagrams put together from two calls under UDP_CORK",
        serve: Some(whole_datagrams),
        drive: with_cork,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-segment",
        about: "UDP_SEGMENT: one call, many datagrams",
        serve: Some(segments),
        drive: segmented,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-segment",
        about: "UDP_SEGMENT: one call, many datagrams",
        family: Family::V6,
        serve: Some(segments),
        drive: segmented,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-segment-gro",
        about: "UDP_SEGMENT to a receiver with UDP_GRO: many datagrams, one call",
        serve: Some(coalesced),
        drive: segmented,
        ..Shape::BASE
    },
];

const ROUNDS: usize = 60;
const PIECE: usize = 311;
const WHOLE: usize = 3 * PIECE;
const SEGMENT: u16 = 700;
/// Twelve full segments and a short one.
const CALL: usize = 12 * SEGMENT as usize + 13;

fn whole_datagrams(actor: &Actor) -> Result<()> {
    let server = datagram::bind_one(actor)?;
    for _ in 0..ROUNDS {
        let mut buffer = [0; 4_096];
        let (size, from) = datagram::receive_from(&server, &mut buffer)?;
        ensure!(size == WHOLE, "a datagram of {size} bytes");
        datagram::send_to(&server, &[0], &from)?;
    }
    actor.finish(&[&server])
}

fn with_more(actor: &Actor) -> Result<()> {
    let client = datagram::connect_one(actor)?;
    let bytes = calls::pattern(PIECE);
    for _ in 0..ROUNDS {
        let more = MsgFlags::from_bits_retain(libc::MSG_MORE);
        for flags in [more, more, MsgFlags::empty()] {
            client.sent(socket::send(client.raw(), &bytes, flags)?);
        }
        calls::recv(&client, &mut [0; 8])?;
    }
    actor.finish(&[&client])
}

fn with_cork(actor: &Actor) -> Result<()> {
    let client = datagram::connect_one(actor)?;
    for _ in 0..ROUNDS {
        options::set(&client, libc::SOL_UDP, libc::UDP_CORK, &1_i32)?;
        calls::send(&client, &mut calls::pattern(PIECE))?;
        calls::write(&client, &mut calls::pattern(2 * PIECE))?;
        options::set(&client, libc::SOL_UDP, libc::UDP_CORK, &0_i32)?;
        calls::recv(&client, &mut [0; 8])?;
    }
    actor.finish(&[&client])
}

fn segmented(actor: &Actor) -> Result<()> {
    let client = datagram::connect_one(actor)?;
    options::set(
        &client,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &i32::from(SEGMENT),
    )
    .map_err(|error| unavailable("UDP_SEGMENT", error))?;
    for _ in 0..ROUNDS {
        let sent = calls::send(&client, &mut calls::pattern(CALL))?;
        ensure!(sent == CALL, "send took {sent} of {CALL} bytes");
        calls::recv(&client, &mut [0; 8])?;
    }
    actor.finish(&[&client])
}

fn segments(actor: &Actor) -> Result<()> {
    let server = datagram::bind_one(actor)?;
    receive_calls(&server, |size| size <= SEGMENT.into())?;
    actor.finish(&[&server])
}

fn coalesced(actor: &Actor) -> Result<()> {
    let server = Counted::udp(actor.shape.family)?;
    server.bind_served(actor.shape.family)?;
    options::set(&server, libc::SOL_UDP, libc::UDP_GRO, &1_i32)
        .map_err(|error| unavailable("UDP_GRO", error))?;
    actor.ready(&[&server])?;
    let mut largest = 0;
    receive_calls(&server, |size| {
        largest = largest.max(size);
        true
    })?;
    if largest <= SEGMENT.into() {
        return Err(unavailable("UDP_GRO", "nothing was coalesced"));
    }
    actor.finish(&[&server])
}

/// Receives what [`ROUNDS`] calls sent, and answers each.
fn receive_calls(server: &Counted, mut fits: impl FnMut(usize) -> bool) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..ROUNDS {
        let mut left = CALL;
        while left > 0 {
            let (size, from) = datagram::receive_from(server, &mut buffer)?;
            ensure!(fits(size), "a read of {size} bytes");
            left -= size;
            if left == 0 {
                datagram::send_to(server, &[0], &from)?;
            }
        }
    }
    Ok(())
}
