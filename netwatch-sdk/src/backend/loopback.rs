//! For live tests: real connections on loopback, in a network namespace of the
//! test's own, and what a reading says about them. They need root.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Command},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};

use crate::{
    backend::Measure,
    reading::{
        Accuracy, Attribution, Direction, Payload, Pid, Process, Reading, Socket, SocketState,
    },
};

pub(crate) const SENT: usize = 3_000_017;
pub(crate) const ANSWERED: usize = 70_003;

/// Moves the calling thread to a network namespace that has only loopback.
pub(crate) fn own_namespace() {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("these tests make network namespaces, which needs root (CAP_SYS_ADMIN)");
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .expect("these tests need the command ip (iproute2)");
    assert!(up.success());
}

pub(crate) fn pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Sends `count` bytes from one end, which the other end reads.
pub(crate) fn send(from: &TcpStream, to: &TcpStream, count: usize) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = from;
            from.write_all(&vec![7; count]).unwrap();
        });
        let mut to = to;
        to.read_exact(&mut vec![0; count]).unwrap();
    });
}

pub(crate) fn exchange(client: &TcpStream, server: &TcpStream) {
    send(client, server, SENT);
    send(server, client, ANSWERED);
}

pub(crate) fn payload(rx: usize, tx: usize) -> Payload {
    Payload {
        rx_bytes: rx as u64,
        tx_bytes: tx as u64,
    }
}

pub(crate) fn find(rows: &[Socket], local: SocketAddr, remote: SocketAddr) -> Option<&Socket> {
    rows.iter().find(|row| {
        row.local == local && row.remote == Some(remote) && row.state != SocketState::TimeWait
    })
}

#[track_caller]
pub(crate) fn open_row<'a>(reading: &'a Reading, socket: &TcpStream) -> &'a Socket {
    let (local, remote) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    find(&reading.open, local, remote).unwrap_or_else(|| panic!("no {local} in {reading:#?}"))
}

#[track_caller]
pub(crate) fn row(reading: &Reading, pid: u32) -> &Process {
    let of = |row: &&Process| matches!(row.id, Attribution::Process(id) if id.pid == Pid(pid));
    reading
        .processes
        .iter()
        .find(of)
        .unwrap_or_else(|| panic!("{:#?}", reading.processes))
}

#[track_caller]
pub(crate) fn assert_exact(socket: &Socket, rx: usize, tx: usize) {
    assert_eq!(socket.payload, Some(payload(rx, tx)), "{socket:#?}");
    assert_eq!(socket.accuracy, Accuracy::Exact, "{socket:#?}");
}

/// No bytes are missing from the row of this process. Other tests start programs, and
/// between fork and exec those hold this process's sockets too, which makes an estimate.
#[track_caller]
pub(crate) fn assert_complete(process: &Process) {
    assert_ne!(process.accuracy, Accuracy::LowerBound, "{process:#?}");
}

/// What a backend that sees sockets says of both ends of an open connection.
pub(crate) fn open_connection(
    backend: &mut dyn Measure,
    address: &str,
) -> (Reading, TcpStream, TcpStream) {
    let (client, server) = pair(address);
    exchange(&client, &server);
    let reading = backend.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.direction, Some(Direction::Outgoing));
    assert!(near.rtt.unwrap().smoothed > Duration::ZERO);
    let far = open_row(&reading, &server);
    assert_exact(far, SENT, ANSWERED);
    assert_eq!(far.direction, Some(Direction::Incoming));
    let this = row(&reading, process::id());
    assert_eq!(this.payload, payload(SENT + ANSWERED, SENT + ANSWERED));
    assert_eq!(near.owner_name.as_ref(), Some(&this.name));
    (reading, client, server)
}

/// Bytes that were sent and not read yet.
pub(crate) fn unread_bytes(backend: &mut dyn Measure) {
    let (mut client, mut server) = pair("127.0.0.1:0");
    client.write_all(&[1; 5000]).unwrap();
    server.read_exact(&mut [0; 2000]).unwrap();
    let reading = backend.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 5000);
    assert_exact(open_row(&reading, &server), 2000, 0);
}

/// A connection that one side has shut down, before and after the other has read the end.
pub(crate) fn half_closed(backend: &mut dyn Measure) -> (TcpStream, TcpStream) {
    let (client, mut server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    client.shutdown(Shutdown::Write).unwrap();
    // An acknowledgement is late by 40 ms at most.
    thread::sleep(Duration::from_millis(100));
    let reading = backend.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.state, SocketState::FinWait2);
    let far = open_row(&reading, &server);
    assert_exact(far, SENT, ANSWERED);
    assert_eq!(far.state, SocketState::CloseWait);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    let reading = backend.read().unwrap();
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
    (client, server)
}
