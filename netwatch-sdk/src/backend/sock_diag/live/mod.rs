//! Real connections on loopback, in network namespaces of their own, compared
//! to the byte. They need root.

mod ended;
mod namespaces;
mod open;
mod processes;

use std::{
    io::Read,
    net::{Shutdown, SocketAddr, TcpStream},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::CloneFlags;

use super::{
    SockDiag,
    closing::Surroundings,
    listing::Listed,
    message::DiagSocket,
    namespace::{Namespace, Place},
};
use crate::{
    backend::{
        Measure,
        ledger::Since,
        loopback::{find, own_namespace},
    },
    reading::{Netns, Reading, Socket},
};

impl SockDiag {
    fn own(&mut self) -> &mut Namespace {
        self.namespaces.get_mut(0).unwrap()
    }
}

/// In a network namespace of the test's own.
fn start() -> SockDiag {
    own_namespace();
    SockDiag::start(false).unwrap()
}

/// What the kernel says of a connection's near end.
fn described(diag: &mut SockDiag, socket: &TcpStream) -> DiagSocket {
    let ends = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let mut found = None;
    let list = diag.own().lister.list(|it| {
        found = found.take().or(it.filter(|it| it.ends() == Some(ends)));
    });
    list.unwrap();
    found.unwrap()
}

/// A list with one socket in it.
fn listed(inode: u32, socket: &DiagSocket) -> Listed {
    let netns = Netns {
        cookie: None,
        inode,
    };
    Listed {
        index: 0,
        place: Place {
            netns,
            since: Since::Birth,
            found: None,
        },
        changed: vec![socket.clone()],
        remnants: Vec::new(),
        ends: Vec::new(),
        near: Surroundings::default(),
        overruns: 0,
    }
}

/// Reads until both rows are among the closed ones: the kernel says so a moment later.
fn ends(diag: &mut SockDiag, client: SocketAddr, server: SocketAddr) -> (Socket, Socket, Reading) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let (mut near, mut far) = (None, None);
    loop {
        let reading = diag.read().unwrap();
        near = near.or_else(|| find(&reading.closed, client, server).cloned());
        far = far.or_else(|| find(&reading.closed, server, client).cloned());
        match (near, far) {
            (Some(near), Some(far)) => return (near, far, reading),
            found => (near, far) = found,
        }
        assert!(Instant::now() < deadline, "{near:?} {far:?} {reading:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How two ends close.
type Close = fn(TcpStream, TcpStream);

const CLOSES: [(&str, Close); 4] = [
    ("the client first", |client, mut server| {
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }),
    ("the server first", |mut client, server| {
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }),
    (
        "the client's sending side, then both",
        |mut client, mut server| {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
            drop(server);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        },
    ),
    ("both, and nobody reads the end", |client, server| {
        drop(client);
        drop(server);
    }),
];

/// Another network namespace, with a process in it.
struct Elsewhere(process::Child);

impl Elsewhere {
    const HERE: &str = "10.77.0.1";
    const THERE: &str = "10.77.0.2";

    /// With loopback only.
    fn alone() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c"])
            .arg("ip link set lo up && echo ready && exec sleep 60")
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs the command unshare (util-linux)");
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        Self(child)
    }

    /// At the other end of a cable, from a namespace of the test's own.
    fn connect() -> Self {
        own_namespace();
        let elsewhere = Self::alone();
        let pid = elsewhere.0.id();
        ip(&format!("link add v0 type veth peer name v1 netns {pid}"));
        ip(&format!("addr add {}/24 dev v0", Self::HERE));
        ip("link set v0 up");
        elsewhere.run(|| {
            ip(&format!("addr add {}/24 dev v1", Self::THERE));
            ip("link set v1 up");
        });
        elsewhere
    }

    /// Runs something there.
    fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.0.id());
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let file = std::fs::File::open(path).unwrap();
                nix::sched::setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            there.join().unwrap()
        })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// This side's row of a connection that closed and whose other end is elsewhere.
fn ended_elsewhere(diag: &mut SockDiag, here: SocketAddr, there: SocketAddr) -> Socket {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let reading = diag.read().unwrap();
        if let Some(row) = find(&reading.closed, here, there) {
            return row.clone();
        }
        assert!(Instant::now() < deadline, "{reading:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}
