//! Sockets that are open at a reading.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use super::{SockDiag, start};
use crate::{
    backend::{
        Measure,
        loopback::{
            self, ANSWERED, SENT, assert_complete, assert_exact, exchange, find, open_row,
            own_namespace, pair, payload, row, send,
        },
    },
    reading::{Accuracy, Pid, SocketState},
};

fn open_connection(address: &str) {
    let mut diag = start();
    let (reading, client, _server) = loopback::open_connection(&mut diag, address);
    let near = open_row(&reading, &client);
    assert_eq!(near.state, SocketState::Established);
    assert_eq!(near.uid, Some(0));
    assert!(near.rtt.unwrap().minimum.is_some());
    assert!(near.retransmits.is_some());
    assert_complete(row(&reading, process::id()));
    let mut limits = diag.limits();
    // A security policy may keep a process even from root.
    limits.retain(|it| !it.contains("cannot be told"));
    assert!(limits.is_empty(), "{limits:?}");
}

#[test]
fn an_open_ipv4_connection_is_exact() {
    open_connection("127.0.0.1:0");
}

#[test]
fn an_open_ipv6_connection_is_exact() {
    open_connection("[::1]:0");
}

#[test]
fn bytes_that_were_not_read_yet_count_for_the_sender_only() {
    loopback::unread_bytes(&mut start());
}

#[test]
fn bytes_that_wait_to_be_sent_count_for_the_sender() {
    let mut diag = start();
    let (mut client, server) = pair("127.0.0.1:0");
    client.set_nonblocking(true).unwrap();
    let mut accepted = 0;
    while let Ok(count) = client.write(&[1; 100_000]) {
        accepted += count;
    }
    thread::sleep(Duration::from_millis(50));
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, accepted);
    assert_exact(open_row(&reading, &server), 0, 0);
}

#[test]
fn half_closed_connections_are_exact_before_and_after_the_end_was_read() {
    let mut diag = start();
    let (client, server) = loopback::half_closed(&mut diag);
    send(&server, &client, 11);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &server), SENT, ANSWERED + 11);
    assert_exact(open_row(&reading, &client), ANSWERED + 11, SENT);
}

#[test]
fn bytes_moved_before_the_start_are_the_sockets_and_not_the_processes() {
    own_namespace();
    let (client, server) = pair("127.0.0.1:0");
    send(&client, &server, 1000);
    let mut diag = SockDiag::start(false).unwrap();
    send(&client, &server, 234);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 1234);
    assert_eq!(row(&reading, process::id()).payload, payload(234, 234));
}

#[test]
fn a_multipath_connection_is_its_owners() {
    use std::os::fd::FromRawFd;

    use nix::{
        libc,
        sys::socket::{SockaddrIn, connect},
    };
    let mut diag = start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(to) = listener.local_addr().unwrap() else {
        panic!("not IPv4");
    };
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    assert!(fd >= 0, "this test needs a kernel with multipath TCP (5.6)");
    // SAFETY: the descriptor is new and nobody else's.
    let client = unsafe { TcpStream::from_raw_fd(fd) };
    connect(fd, &SockaddrIn::from(to)).unwrap();
    let (server, _) = listener.accept().unwrap();
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    let near = open_row(&reading, &client);
    assert_eq!(near.payload, Some(payload(ANSWERED, SENT)));
    // It could have been sent twice.
    assert_eq!(near.accuracy, Accuracy::Estimate);
    assert_eq!(near.owner.unwrap().pid, Pid(process::id()));
    assert_eq!(row(&reading, process::id()).accuracy, Accuracy::Estimate);
}

#[test]
fn a_udp_socket_is_listed_with_its_owner_and_without_bytes() {
    let mut diag = start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let reading = diag.read().unwrap();
    let local = socket.local_addr().unwrap();
    let listed = find(&reading.open, local, "127.0.0.1:9".parse().unwrap()).unwrap();
    assert_eq!(listed.payload, None);
    assert_eq!(listed.owner.unwrap().pid, Pid(process::id()));
    assert_ne!(row(&reading, process::id()).accuracy, Accuracy::Exact);
}

#[test]
fn a_shared_socket_counts_once_and_marks_its_holders_as_estimates() {
    let mut diag = start();
    let (client, server) = pair("127.0.0.1:0");
    nix::fcntl::fcntl(
        &client,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let mut heir = Command::new("sleep").arg("30").spawn().unwrap();
    nix::fcntl::fcntl(
        &client,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .unwrap();
    exchange(&client, &server);
    let reading = diag.read();
    heir.kill().unwrap();
    heir.wait().unwrap();
    let reading = reading.unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert!(near.shared);
    assert_eq!(near.owner.unwrap().pid, Pid(process::id()));
    let all = payload(SENT + ANSWERED, SENT + ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, all);
    assert_eq!(row(&reading, process::id()).accuracy, Accuracy::Estimate);
}

#[test]
fn segments_that_were_lost_and_sent_again_count_once() {
    own_namespace();
    // Room for two segments: what does not fit is dropped.
    let lossy = Command::new("tc")
        .args("qdisc add dev lo root tbf rate 400mbit burst 70kb limit 140kb".split(' '))
        .status()
        .expect("this test needs the command tc (iproute2)");
    assert!(lossy.success(), "this test needs the module sch_tbf");
    let mut diag = SockDiag::start(false).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    // Who connected is known before anything is lost.
    diag.read().unwrap();
    for _ in 0..20 {
        send(&client, &server, 500_001);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reading = diag.read().unwrap();
        let near = open_row(&reading, &client);
        assert_exact(near, 0, 20 * 500_001);
        assert_exact(open_row(&reading, &server), 20 * 500_001, 0);
        if near.retransmits > Some(0) {
            return;
        }
        assert!(Instant::now() < deadline, "nothing was lost");
        send(&client, &server, 0);
        thread::sleep(Duration::from_millis(50));
    }
}
