//! Two processes that connect in every way there is.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt,
    },
};

use super::{attempt::Attempt, flood};
use crate::{
    actor::{Actor, hold, myself, tell},
    counted::CALL_LIMIT,
    family, options,
    shape::{Family, Shape},
    truth::Event,
};

const BASE: Shape = Shape {
    stem: "events",
    about: "connections that open, fail and close in every way",
    serve: Some(serve),
    drive,
    more: &[("prefork", prefork), ("few", few), ("unreachable", unreachable), ("flood", flood::flood)],
    ..Shape::BASE
};

/// No traffic shapes of the table: they report connections, not bytes.
pub(crate) const SHAPES: [Shape; 3] = [
    BASE,
    BASE.over(Family::V6),
    BASE.over(Family::Mapped),
];

/// How a connection goes, and how many of them a client makes.
const PLAN: [(u8, usize); 5] = [
    (NORMAL, 1500),
    (RESET, 300),
    (UNREAD, 300),
    (STUCK, 5),
    (QUIT, 1),
];
const REFUSED: usize = 300;
const GIVEN_UP: usize = 100;
const TIMED_OUT: usize = 20;
const DATAGRAMS: usize = 100;

/// How many of each: a fifth in a virtual machine.
pub(super) fn scaled(count: usize) -> usize {
    match std::env::var_os("NETWATCH_VM") {
        Some(_) => count.div_ceil(5),
        None => count,
    }
}

/// The client sends, the server answers, both close.
const NORMAL: u8 = b'n';
/// The client resets.
const RESET: u8 = b'r';
/// The server closes with unread data.
const UNREAD: u8 = b'u';
/// The server reads nothing more and the client loses patience.
const STUCK: u8 = b's';
/// As `NORMAL`, and the server ends.
const QUIT: u8 = b'q';

/// What the client sends first: how it goes, how much it sends, how much it wants.
const HEADER: usize = 9;

fn header(kind: u8, send: u32, want: u32) -> [u8; HEADER] {
    let mut header = [kind; HEADER];
    header[1..5].copy_from_slice(&send.to_le_bytes());
    header[5..].copy_from_slice(&want.to_le_bytes());
    header
}

fn stream(family: Family) -> Result<OwnedFd> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 | Family::Mapped => AddressFamily::Inet6,
    };
    Ok(socket::socket(
        domain,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

/// Bound to a port, and nobody listens yet.
fn bound(family: Family) -> Result<OwnedFd> {
    let fd = stream(family)?;
    let address = SocketAddr::new(family.loopback(), 0);
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

fn local(fd: &impl AsFd) -> Result<SocketAddr> {
    let address: SockaddrStorage = socket::getsockname(fd.as_fd().as_raw_fd())?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Ok(SocketAddr::V4((*v4).into()));
    }
    let v6 = address.as_sockaddr_in6().context("no address")?;
    Ok(SocketAddr::V6((*v6).into()))
}

/// As events show it.
fn shown(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

struct Attempts(Vec<Attempt>);

impl Attempts {
    fn add(&mut self, fd: &impl AsFd, remote: SocketAddr, story: &str) -> Result<&mut Attempt> {
        self.0.push(Attempt {
            pid: process::id(),
            opened_by: process::id(),
            cookie: options::cookie(fd)?,
            udp: false,
            incoming: false,
            story: story.to_owned(),
            local: None,
            remote: shown(remote),
            tx: 0,
            rx: 0,
        });
        self.0.last_mut().context("just added")
    }

    fn tell(self) -> Result<()> {
        tell(&Event::Process(myself(true)?))?;
        for attempts in self.0.chunks(100) {
            tell(&Event::Attempts {
                attempts: attempts.to_vec(),
            })?;
        }
        tell(&Event::Done { pid: process::id() })
    }
}

fn serve(actor: &Actor) -> Result<()> {
    let family = actor.shape.family;
    let listener = bound(family)?;
    socket::listen(&listener, Backlog::new(128)?)?;
    let listener = TcpListener::from(listener);
    let datagrams = UdpSocket::bind((family.loopback(), 0))?;
    datagrams.set_read_timeout(Some(CALL_LIMIT))?;
    let nobody = bound(family)?;
    // One connection fills its queue; further attempts get no answer.
    let full = bound(family)?;
    socket::listen(&full, Backlog::new(0)?)?;
    let full = TcpListener::from(full);
    let mut attempts = Attempts(Vec::new());
    tell(&Event::Ready {
        addresses: vec![
            listener.local_addr()?,
            datagrams.local_addr()?,
            local(&nobody)?,
            full.local_addr()?,
        ],
    })?;
    actor.pause("listening")?;
    let filler = TcpStream::connect(full.local_addr()?)?;
    let attempt = attempts.add(&filler, full.local_addr()?, "opened established closed")?;
    attempt.local = Some(shown(filler.local_addr()?));
    actor.pause("full")?;
    let mut stuck = Vec::new();
    while answer(&listener, &mut attempts, &mut stuck)? {}
    for _ in 0..DATAGRAMS {
        let mut buffer = [0; 2048];
        let (length, from) = datagrams.recv_from(&mut buffer)?;
        datagrams.send_to(&buffer[..length], from)?;
    }
    let (accepted, peer) = full.accept()?;
    let attempt = attempts.add(&accepted, peer, "opened established closed")?;
    attempt.incoming = true;
    attempt.local = Some(shown(accepted.local_addr()?));
    // This side first: it stays in no table.
    drop(filler);
    ensure!((&accepted).read(&mut [0])? == 0, "no end");
    drop(accepted);
    drop(stuck);
    drop(full);
    attempts.tell()?;
    hold()
}

/// Accepts a connection and does what it asks for; `false` for the last.
fn answer(
    listener: &TcpListener,
    attempts: &mut Attempts,
    stuck: &mut Vec<TcpStream>,
) -> Result<bool> {
    let (mut stream, peer) = listener.accept()?;
    stream.set_read_timeout(Some(CALL_LIMIT))?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let number = |at: usize| -> Result<u32> {
        Ok(u32::from_le_bytes(header[at..at + 4].try_into()?))
    };
    let (send, want) = (number(1)?, number(5)?);
    let kind = header[0];
    let attempt = attempts.add(&stream, peer, "")?;
    attempt.incoming = true;
    attempt.local = Some(shown(stream.local_addr()?));
    attempt.rx = HEADER as u64;
    match kind {
        NORMAL | QUIT => {
            attempt.story = "opened established closed".to_owned();
            attempt.rx += std::io::copy(&mut stream, &mut std::io::sink())?;
            ensure!(attempt.rx == HEADER as u64 + u64::from(send), "short");
            stream.write_all(&vec![0; want as usize])?;
            attempt.tx = want.into();
        }
        RESET => {
            attempt.story = "opened established reset/remote(104) closed".to_owned();
            stream.write_all(b"!")?;
            attempt.tx = 1;
            let error = stream.read(&mut [0]).err().context("no reset")?;
            ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
        }
        UNREAD => {
            attempt.story = "opened established reset/local closed".to_owned();
            let mut buffer = vec![0; send as usize];
            while stream.peek(&mut buffer)? < send as usize {}
        }
        STUCK => {
            attempt.story = "opened established reset/local closed".to_owned();
            stuck.push(stream);
        }
        other => bail!("asked for {other}"),
    }
    Ok(kind != QUIT)
}

fn drive(actor: &Actor) -> Result<()> {
    let [listener, datagrams, nobody, full] = actor.peers[..] else {
        bail!("needs four addresses");
    };
    let family = actor.shape.family;
    let mut attempts = Attempts(Vec::new());
    for index in 0..scaled(REFUSED) {
        let fd = stream(family)?;
        let error = socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(nobody));
        ensure!(error == Err(Errno::ECONNREFUSED), "{index}: {error:?}");
        attempts.add(&fd, nobody, "opened refused(111)")?;
    }
    for _ in 0..scaled(GIVEN_UP) {
        let fd = unanswered(family, full)?;
        let attempt = attempts.add(&fd, full, "opened failed")?;
        attempt.local = Some(shown(local(&fd)?));
    }
    time_out(family, full, &mut attempts)?;
    for (kind, count) in PLAN {
        for index in 0..scaled(count) {
            let size = u32::try_from(index)?;
            visit(family, listener, kind, size % 1000, size % 700, &mut attempts)?;
        }
    }
    datagrams_to(family, datagrams, &mut attempts)?;
    attempts.tell()?;
    hold()
}

/// A connection attempt under way that nobody will answer.
fn unanswered(family: Family, full: SocketAddr) -> Result<OwnedFd> {
    let fd = stream(family)?;
    nix::fcntl::fcntl(
        &fd,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    let begun = socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(full));
    ensure!(begun == Err(Errno::EINPROGRESS), "{begun:?}");
    Ok(fd)
}

/// Attempts that the kernel gives up.
fn time_out(family: Family, full: SocketAddr, attempts: &mut Attempts) -> Result<()> {
    let mut waiting = Vec::new();
    for _ in 0..scaled(TIMED_OUT) {
        let fd = unanswered(family, full)?;
        setsockopt(&fd, sockopt::TcpUserTimeout, &300)?;
        let attempt = attempts.add(&fd, full, "opened timed_out(110)")?;
        attempt.local = Some(shown(local(&fd)?));
        waiting.push(fd);
    }
    for fd in waiting {
        wait_for_error(&fd)?;
    }
    Ok(())
}

/// `TCP_CLOSE`, the first byte of a `struct tcp_info`.
const CLOSED: i32 = 7;

fn wait_for_error(fd: &impl AsFd) -> Result<()> {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    let limit = PollTimeout::try_from(CALL_LIMIT)?;
    ensure!(poll(&mut polled, limit)? == 1, "no time-out");
    // The kernel reports the error before it closes the socket. Who takes it in between takes
    // it from the event, too.
    let started = Instant::now();
    while options::number(fd, libc::IPPROTO_TCP, libc::TCP_INFO)? & 0xff != CLOSED {
        ensure!(started.elapsed() < CALL_LIMIT, "it is not closed");
        thread::sleep(Duration::from_millis(1));
    }
    let error = options::number(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
    ensure!(error == libc::ETIMEDOUT, "error {error}");
    Ok(())
}

/// One connection to the server.
fn visit(
    family: Family,
    server: SocketAddr,
    kind: u8,
    send: u32,
    want: u32,
    attempts: &mut Attempts,
) -> Result<()> {
    let fd = stream(family)?;
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(server))?;
    let mut stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CALL_LIMIT))?;
    let send = if kind == UNREAD { send + 1 } else { send };
    stream.write_all(&header(kind, send, want))?;
    let attempt = attempts.add(&stream, server, "opened established closed")?;
    attempt.local = Some(shown(stream.local_addr()?));
    attempt.tx = HEADER as u64;
    match kind {
        NORMAL | QUIT => {
            stream.write_all(&vec![0; send as usize])?;
            attempt.tx += u64::from(send);
            stream.shutdown(std::net::Shutdown::Write)?;
            attempt.rx = std::io::copy(&mut stream, &mut std::io::sink())?;
            ensure!(attempt.rx == u64::from(want), "short");
        }
        RESET => {
            attempt.story = "opened established reset/local closed".to_owned();
            stream.read_exact(&mut [0])?;
            attempt.rx = 1;
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &at_once)?;
        }
        UNREAD => {
            attempt.story = "opened established reset/remote(104) closed".to_owned();
            stream.write_all(&vec![0; send as usize])?;
            attempt.tx += u64::from(send);
            let error = stream.read(&mut [0]).err().context("no reset")?;
            ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
        }
        _ => {
            attempt.story = "opened established timed_out(110) closed".to_owned();
            setsockopt(&stream, sockopt::TcpUserTimeout, &300)?;
            stream.set_nonblocking(true)?;
            while let Ok(sent) = stream.write(&[0; 65_536]) {
                attempt.tx += sent as u64;
            }
            wait_for_error(&stream)?;
        }
    }
    Ok(())
}

/// Connected UDP: to the server, and between two sockets of this process.
fn datagrams_to(family: Family, server: SocketAddr, attempts: &mut Attempts) -> Result<()> {
    let bound = || -> Result<UdpSocket> {
        let socket = UdpSocket::bind((family.loopback(), 0))?;
        socket.set_read_timeout(Some(CALL_LIMIT))?;
        Ok(socket)
    };
    let mut add = |socket: &UdpSocket, tx: usize, rx: usize, incoming: bool| -> Result<()> {
        let attempt = attempts.add(socket, socket.peer_addr()?, "opened closed")?;
        attempt.udp = true;
        attempt.incoming = incoming;
        attempt.local = Some(shown(socket.local_addr()?));
        (attempt.tx, attempt.rx) = (tx as u64, rx as u64);
        Ok(())
    };
    for index in 0..DATAGRAMS {
        let (size, mut buffer) = (index + 1, [0; 2048]);
        let socket = bound()?;
        socket.connect(server)?;
        socket.send(&buffer[..size])?;
        ensure!(socket.recv(&mut buffer)? == size, "another datagram");
        add(&socket, size, size, false)?;
        // Connected, and it moves nothing: no event.
        bound()?.connect(server)?;
    }
    let (one, other) = (bound()?, bound()?);
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    one.send(b"hello")?;
    other.recv(&mut [0; 16])?;
    other.send(b"hello you")?;
    one.recv(&mut [0; 16])?;
    add(&one, 5, 9, false)?;
    add(&other, 9, 5, true)
}

/// Some connections of the simplest kind.
fn few(actor: &Actor) -> Result<()> {
    let server = *actor.peers.first().context("needs an address")?;
    let mut attempts = Attempts(Vec::new());
    for kind in [NORMAL, NORMAL, NORMAL, QUIT] {
        visit(actor.shape.family, server, kind, 10, 20, &mut attempts)?;
    }
    attempts.tell()?;
    hold()
}

/// Attempts to reach each of the addresses, where nobody is.
fn unreachable(actor: &Actor) -> Result<()> {
    let mut attempts = Attempts(Vec::new());
    for peer in &actor.peers {
        let family = match peer {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        };
        let fd = stream(family)?;
        let error = socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(*peer));
        ensure!(error == Err(Errno::EHOSTUNREACH), "{peer}: {error:?}");
        attempts.add(&fd, *peer, "opened unreachable(113)")?;
    }
    attempts.tell()?;
    hold()
}

/// A process that listens, and a child that accepts.
fn prefork(actor: &Actor) -> Result<()> {
    let listener = TcpListener::bind((actor.shape.family.loopback(), 0))?;
    let parent = process::id();
    family::expect(1)?;
    tell(&Event::Ready {
        addresses: vec![listener.local_addr()?],
    })?;
    actor.pause("listening")?;
    actor.pause("nothing to fill")?;
    let child = family::spawn(|| {
        let mut attempts = Attempts(Vec::new());
        while answer(&listener, &mut attempts, &mut Vec::new())? {}
        for attempt in &mut attempts.0 {
            attempt.opened_by = parent;
        }
        attempts.tell()
    })?;
    family::wait_all(&[child])?;
    Attempts(Vec::new()).tell()?;
    hold()
}

/// Time in which nothing of a test's own may happen any more.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
