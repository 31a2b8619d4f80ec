//! MSG_ZEROCOPY: the completions come through the error queue and are no payload.

use std::{os::fd::AsFd, time::Instant};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{self, MsgFlags, SockaddrStorage},
};

use super::{datagram, stream};
use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all},
    counted::{CALL_LIMIT, Counted},
    options,
    shape::Shape,
};

const TOTAL: usize = 2_000_003;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-zerocopy-send",
        about: "TCP sent with MSG_ZEROCOPY; completions read from the error queue do not count",
        serve: Some(receive),
        drive: send,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-zerocopy-send",
        about: "UDP sent with MSG_ZEROCOPY; completions read from the error queue do not count",
        serve: Some(receive_datagrams),
        drive: send_datagrams,
        ..Shape::BASE
    },
];

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, TOTAL, 64 * 1024)?;
    actor.finish(&[&listener, &socket])
}

fn send(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    allow(&socket)?;
    let bytes = calls::pattern(100_000);
    let mut left = TOTAL;
    let mut calls = 0;
    while left > 0 {
        let piece = &bytes[..left.min(bytes.len())];
        let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
        left -= socket.sent(socket::send(socket.raw(), piece, flags)?);
        calls += 1;
    }
    completions(&socket, calls)?;
    actor.finish(&[&socket])
}

fn receive_datagrams(actor: &Actor) -> Result<()> {
    let server = datagram::bind_one(actor)?;
    let mut buffer = [0; 4_096];
    for _ in 0..50 {
        let (_, from) = datagram::receive_from(&server, &mut buffer)?;
        datagram::send_to(&server, &[0], &from)?;
    }
    actor.finish(&[&server])
}

fn send_datagrams(actor: &Actor) -> Result<()> {
    let client = datagram::connect_one(actor)?;
    allow(&client)?;
    let bytes = calls::pattern(1_400);
    for _ in 0..50 {
        let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
        client.sent(socket::send(client.raw(), &bytes, flags)?);
        calls::recv(&client, &mut [0; 8])?;
    }
    completions(&client, 50)?;
    actor.finish(&[&client])
}

fn allow(socket: &Counted) -> Result<()> {
    options::set(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1_i32)
        .map_err(|error| unavailable("SO_ZEROCOPY", error))
}

/// Reads the error queue until all `calls` were reported complete.
fn completions(socket: &Counted, calls: u32) -> Result<()> {
    let started = Instant::now();
    let mut complete = 0;
    while complete < calls {
        ensure!(
            started.elapsed() < CALL_LIMIT,
            "{complete} of {calls} completions"
        );
        let mut wait = [PollFd::new(socket.as_fd(), PollFlags::POLLERR)];
        poll(&mut wait, PollTimeout::from(1_000_u16))?;
        let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
        let message = socket::recvmsg::<SockaddrStorage>(
            socket.raw(),
            &mut [],
            Some(&mut control),
            MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN) => continue,
            Err(error) => return Err(error.into()),
        };
        for control in message.cmsgs()? {
            if let socket::ControlMessageOwned::Ipv4RecvErr(range, _) = control {
                complete += range.ee_data - range.ee_info + 1;
            }
        }
    }
    Ok(())
}
