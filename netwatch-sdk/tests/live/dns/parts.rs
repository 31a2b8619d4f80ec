//! The processes of the DNS tests. Each test puts them into a network namespace of
//! its own, where port 53 is free.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::message;
use crate::{
    actor::{Actor, hold, report, tell},
    shape::Shape,
    truth::Event,
};

/// No traffic shape, so it is in no table.
pub(crate) const SHAPE: Shape = Shape {
    stem: "dns",
    about: "DNS clients and servers",
    serve: Some(serve),
    drive: |actor| ask(actor, "plain", PLAIN, Way::Connected),
    more: &[
        ("forward", |actor| forward(actor, (Ipv4Addr::new(127, 0, 0, 53), 53))),
        ("forward-translated", |actor| forward(actor, (Ipv4Addr::new(127, 0, 0, 11), 0))),
        ("v6", |actor| ask(actor, "six", SIX, Way::Unconnected)),
        ("mapped", |actor| ask(actor, "mapped", MAPPED, Way::Unconnected)),
        ("mapped-to", |actor| ask(actor, "mapped-to", MAPPED, Way::Connected)),
        ("port-53", |actor| ask(actor, "fifty-three", FROM_53, Way::From53)),
        ("nx", |actor| ask(actor, "nx", NX, Way::Unconnected)),
        ("fail", |actor| ask(actor, "fail", FAIL, Way::Connected)),
        ("slow", |actor| ask(actor, "slow", SLOW, Way::Connected)),
        ("many", many),
        ("silent", silent),
        ("noise", noise),
        ("tunnel", tunnel),
        ("page", page),
    ],
    ..Shape::BASE
};

/// An address of the server's namespace that is not loopback's.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

pub(super) const PLAIN: u16 = 40;
pub(super) const SIX: u16 = 30;
pub(super) const MAPPED: u16 = 20;
pub(super) const FROM_53: u16 = 10;
pub(super) const NX: u16 = 25;
pub(super) const FAIL: u16 = 15;
pub(super) const MANY: u16 = 3_000;
pub(super) const SLOW: u16 = 5;
pub(super) const SILENT: u16 = 5_000;
pub(super) const NOISE: usize = 10_000;
pub(super) const TUNNEL: u16 = 200;
pub(super) const PAGE: u16 = 45;

/// How long a slow answer takes.
pub(super) const DELAY: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(20);

/// How a client's socket is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Connected,
    Unconnected,
    /// Unconnected, and bound to port 53 itself, as some resolvers are configured.
    From53,
}

/// Tells others where to ask, and answers until the test ends it.
fn serve(_: &Actor) -> Result<()> {
    let sockets = [
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?,
        UdpSocket::bind((Ipv6Addr::LOCALHOST, 53))?,
        UdpSocket::bind((ELSEWHERE, 53))?,
    ];
    let addresses = sockets.iter().map(UdpSocket::local_addr);
    let addresses = addresses.collect::<Result<_, _>>()?;
    for socket in sockets {
        thread::spawn(move || serve_on(&socket));
    }
    tell(&Event::Ready { addresses })?;
    hold()
}

fn serve_on(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let query = &buffer[..length];
        // What is no query gets no answer.
        let Ok((_, name)) = message::asked(query) else {
            continue;
        };
        if name.starts_with("slow-") {
            thread::sleep(DELAY);
        }
        if !name.starts_with("silent-") {
            socket.send_to(&message::answer(query)?, client)?;
        }
    }
}

/// Passes on what it is asked on an address, under ids of its own; and asks for
/// itself once for each.
fn forward(actor: &Actor, address: (Ipv4Addr, u16)) -> Result<()> {
    let upstream = actor.peer()?;
    let stub = UdpSocket::bind(address)?;
    tell(&Event::Ready {
        addresses: vec![stub.local_addr()?],
    })?;
    thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 2048];
        for number in 0_u16.. {
            let (length, client) = stub.recv_from(&mut buffer)?;
            let (id, name) = message::asked(&buffer[..length])?;
            let own = socket(upstream, Way::Connected)?;
            let mut answer = exchange(&own, upstream, Way::Connected, 40_000 + number, &name)?;
            answer[..2].copy_from_slice(&id.to_be_bytes());
            stub.send_to(&answer, client)?;
            exchange(&own, upstream, Way::Connected, 50_000 + number, "self.forwarder.test")?;
        }
        Ok(())
    });
    hold()
}

fn socket(server: SocketAddr, way: Way) -> Result<UdpSocket> {
    let socket = match (server, way) {
        (SocketAddr::V4(_), Way::From53) => UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 53))?,
        (SocketAddr::V4(_), _) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        (SocketAddr::V6(_), _) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    if way == Way::Connected {
        socket.connect(server)?;
    }
    Ok(socket)
}

fn send(socket: &UdpSocket, server: SocketAddr, way: Way, message: &[u8]) -> Result<()> {
    let sent = match way {
        Way::Connected => socket.send(message)?,
        Way::Unconnected | Way::From53 => socket.send_to(message, server)?,
    };
    ensure!(sent == message.len(), "{sent} bytes sent");
    Ok(())
}

/// Asks and waits for the answer.
fn exchange(
    socket: &UdpSocket,
    server: SocketAddr,
    way: Way,
    id: u16,
    name: &str,
) -> Result<Vec<u8>> {
    send(socket, server, way, &message::query(id, name)?)?;
    let mut buffer = vec![0; 2048];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    let answered = message::asked(&buffer)?;
    ensure!(answered == (id, name.to_owned()), "{answered:?} for {id} {name}");
    Ok(buffer)
}

/// Asks `count` questions, each of another name below `kind.test`.
fn ask(actor: &Actor, kind: &str, count: u16, way: Way) -> Result<()> {
    let server = actor.peer()?;
    let own = socket(server, way)?;
    for id in 0..count {
        exchange(&own, server, way, id, &format!("{kind}-{id}.{kind}.test"))?;
    }
    done()
}

/// Asks as fast as a collector without optimization can follow on a busy machine.
fn many(actor: &Actor) -> Result<()> {
    let server = actor.peer()?;
    let own = socket(server, Way::Connected)?;
    for id in 0..MANY {
        let name = format!("many-{id}.many.test");
        exchange(&own, server, Way::Connected, id, &name)?;
        if id % 4 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    done()
}

/// Asks what nobody answers.
fn silent(actor: &Actor) -> Result<()> {
    let server = actor.peer()?;
    let own = socket(server, Way::Connected)?;
    for id in 0..SILENT {
        let query = message::query(id, "silent-one.silent.test")?;
        send(&own, server, Way::Connected, &query)?;
    }
    done()
}

/// Sends bytes that are hardly ever DNS, of every length that fits a packet of
/// loopback and beyond what is kept. To a socket of its own that nobody reads: none
/// of it may be answered.
fn noise(_: &Actor) -> Result<()> {
    let silent = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 3), 53))?;
    let server = silent.local_addr()?;
    let own = socket(server, Way::Connected)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..NOISE {
        let mut message = vec![0; number % 600];
        for byte in &mut message {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        send(&own, server, Way::Connected, &message)?;
    }
    done()
}

/// Asks for random names under one domain, as a tunnel does.
fn tunnel(actor: &Actor) -> Result<()> {
    let server = actor.peer()?;
    let own = socket(server, Way::Connected)?;
    for id in 0..TUNNEL {
        let data = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let name = format!("{data:016x}.exfil.test");
        exchange(&own, server, Way::Connected, id, &name)?;
    }
    done()
}

/// Asks for the names of a page: a handful under each of several domains, twice.
fn page(actor: &Actor) -> Result<()> {
    let server = actor.peer()?;
    let own = socket(server, Way::Unconnected)?;
    for id in 0..PAGE {
        let name = format!("cdn{}.site{}.test", id % 5, id / 5 % 9);
        exchange(&own, server, Way::Unconnected, id, &name)?;
    }
    done()
}

fn done() -> Result<()> {
    report(&[], true).context("report")?;
    hold()
}
