//! TCP Fast Open: payload in the SYN, sent by the call that connects.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{self, MsgFlags, SockaddrStorage};

use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all, send_all},
    counted::Counted,
    options,
    shape::{Family, Place, Shape},
};

/// `/proc/sys/net` is that of the namespace of who opens it; 3: connect and accept.
const SWITCH: &str = "/proc/sys/net/ipv4/tcp_fastopen";
const FIRST: usize = 1_001;
const REST: usize = 50_021;

const SHAPE: Shape = Shape {
    stem: "tcp-fast-open",
    about: "TCP Fast Open: the first bytes travel in the SYN",
    place: Place::Namespace,
    serve: Some(serve),
    drive,
    ..Shape::BASE
};

const DEFERRED: Shape = Shape {
    stem: "tcp-fast-open-connect",
    about: "TCP Fast Open behind connect (TCP_FASTOPEN_CONNECT): the first write sends the SYN",
    drive: drive_deferred,
    ..SHAPE
};

pub(super) const SHAPES: &[Shape] = &[SHAPE, SHAPE.over(Family::V6), DEFERRED];

fn serve(actor: &Actor) -> Result<()> {
    fs::write(SWITCH, "3").map_err(|error| unavailable(SWITCH, error))?;
    let listener = Counted::tcp(actor.shape.family)?;
    listener.bind_served(actor.shape.family)?;
    options::set(&listener, libc::SOL_TCP, libc::TCP_FASTOPEN, &16_i32)?;
    no_cookie(&listener)?;
    let listener = listener.listen()?;
    actor.ready(&[&listener])?;
    let socket = listener.accept()?;
    receive_all(calls::recv, &socket, FIRST + REST, 10_000)?;
    send_all(calls::send, &socket, 501, 501)?;
    actor.finish(&[&listener, &socket])
}

fn drive(actor: &Actor) -> Result<()> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    no_cookie(&socket)?;
    let to = SockaddrStorage::from(actor.peer()?);
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    let sent = socket::sendto(socket.raw(), &calls::pattern(FIRST), &to, flags)
        .context("send with MSG_FASTOPEN")?;
    ensure!(sent == FIRST, "the SYN took {sent} bytes");
    socket.sent(sent);
    socket.outgoing()?;
    send_all(calls::send, &socket, REST, 10_000)?;
    receive_all(calls::recv, &socket, 501, 501)?;
    ensure!(in_syn(&socket)?, "the kernel sent no data in the SYN");
    actor.finish(&[&socket])
}

fn drive_deferred(actor: &Actor) -> Result<()> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    no_cookie(&socket)?;
    options::set(&socket, libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT, &1_i32)
        .map_err(|error| unavailable("TCP_FASTOPEN_CONNECT", error))?;
    socket.connecting(actor.peer()?)?;
    send_all(calls::send, &socket, FIRST + REST, FIRST)?;
    socket.outgoing()?;
    receive_all(calls::recv, &socket, 501, 501)?;
    ensure!(in_syn(&socket)?, "the kernel sent no data in the SYN");
    actor.finish(&[&socket])
}

fn no_cookie(socket: &Counted) -> Result<()> {
    const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
    options::set(socket, libc::SOL_TCP, TCP_FASTOPEN_NO_COOKIE, &1_i32)
        .map_err(|error| unavailable("TCP_FASTOPEN_NO_COOKIE", error))
}

/// `TCPI_OPT_SYN_DATA` of `TCP_INFO`, byte 5 of the struct.
fn in_syn(socket: &Counted) -> Result<bool> {
    const TCPI_OPT_SYN_DATA: u8 = 32;
    let mut info = [0_u8; 8];
    options::get(socket, libc::SOL_TCP, libc::TCP_INFO, &mut info)?;
    Ok(info[5] & TCPI_OPT_SYN_DATA != 0)
}
