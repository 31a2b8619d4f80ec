//! Real connections on loopback, in network namespaces of their own, compared
//! to the byte. They need root.

use std::{
    env,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::CloneFlags;

use super::{SockDiag, namespace::Namespace};
use crate::{
    backend::{
        Measure,
        loopback::{
            ANSWERED, SENT, assert_complete, assert_exact, exchange, find, open_row, own_namespace,
            pair, payload, row, send,
        },
    },
    reading::{Accuracy, Attribution, Direction, Payload, Pid, Reading, Socket, SocketState},
};

impl SockDiag {
    fn own(&mut self) -> &mut Namespace {
        self.namespaces.get_mut(0).unwrap()
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

fn open_connection(address: &str) {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (client, server) = pair(address);
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.state, SocketState::Established);
    assert_eq!(near.direction, Some(Direction::Outgoing));
    assert_eq!(near.uid, Some(0));
    assert!(near.rtt.unwrap().smoothed > Duration::ZERO);
    assert!(near.rtt.unwrap().minimum.is_some());
    assert!(near.retransmits.is_some());
    let far = open_row(&reading, &server);
    assert_exact(far, SENT, ANSWERED);
    assert_eq!(far.direction, Some(Direction::Incoming));
    let this = row(&reading, process::id());
    assert_eq!(this.payload, payload(SENT + ANSWERED, SENT + ANSWERED));
    assert_complete(this);
    assert_eq!(near.owner_name.as_ref(), Some(&this.name));
    assert!(diag.limits().is_empty(), "{:?}", diag.limits());
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
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (mut client, mut server) = pair("127.0.0.1:0");
    client.write_all(&[1; 5000]).unwrap();
    server.read_exact(&mut [0; 2000]).unwrap();
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 5000);
    assert_exact(open_row(&reading, &server), 2000, 0);
}

#[test]
fn bytes_that_wait_to_be_sent_count_for_the_sender() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
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
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (client, mut server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    client.shutdown(Shutdown::Write).unwrap();
    // An acknowledgement is late by 40 ms at most.
    thread::sleep(Duration::from_millis(100));
    let reading = diag.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.state, SocketState::FinWait2);
    let far = open_row(&reading, &server);
    assert_exact(far, SENT, ANSWERED);
    assert_eq!(far.state, SocketState::CloseWait);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
    send(&server, &client, 11);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &server), SENT, ANSWERED + 11);
    assert_exact(open_row(&reading, &client), ANSWERED + 11, SENT);
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

#[test]
fn a_connection_that_lived_between_two_readings_is_exact_and_its_owner_unknown() {
    own_namespace();
    for (how, close) in CLOSES {
        let mut diag = SockDiag::start(false).unwrap();
        let (client, server) = pair("127.0.0.1:0");
        exchange(&client, &server);
        let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        close(client, server);
        let (near, far, reading) = ends(&mut diag, near, far);
        println!("{how}");
        assert_exact(&near, ANSWERED, SENT);
        assert_exact(&far, SENT, ANSWERED);
        assert_eq!((near.owner, far.owner), (None, None));
        let unknown = (reading.processes.iter()).find(|row| row.id == Attribution::Unknown);
        let all = payload(SENT + ANSWERED, SENT + ANSWERED);
        assert_eq!(unknown.unwrap().payload, all);
        assert_eq!(
            reading.lost.unattributed_rx_bytes + reading.lost.unattributed_tx_bytes,
            all.rx_bytes + all.tx_bytes
        );
    }
}

/// Another network namespace, at the other end of a cable.
struct Elsewhere(process::Child);

impl Elsewhere {
    const HERE: &str = "10.77.0.1";
    const THERE: &str = "10.77.0.2";

    fn connect() -> Self {
        own_namespace();
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready && exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs the command unshare (util-linux)");
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        let pid = child.id();
        let elsewhere = Self(child);
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

#[test]
fn what_is_called_exact_is_exact_and_a_lower_bound_is_one_byte_short_when_the_peer_is_elsewhere() {
    let elsewhere = Elsewhere::connect();
    let far = elsewhere.run(|| TcpListener::bind((Elsewhere::THERE, 0)).unwrap());
    let near = TcpListener::bind((Elsewhere::HERE, 0)).unwrap();
    let mut exact = 0;
    for (how, close) in CLOSES {
        for (seen, outgoing) in [(false, true), (false, false), (true, true), (true, false)] {
            let mut diag = SockDiag::start(false).unwrap();
            let (client, server) = if outgoing {
                let client = TcpStream::connect(far.local_addr().unwrap()).unwrap();
                (client, far.accept().unwrap().0)
            } else {
                let to = near.local_addr().unwrap();
                let client = elsewhere.run(|| TcpStream::connect(to).unwrap());
                (client, near.accept().unwrap().0)
            };
            if seen {
                diag.read().unwrap();
            }
            exchange(&client, &server);
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            close(client, server);
            let (row, rx, tx) = if outgoing {
                (ended_elsewhere(&mut diag, local, remote), ANSWERED, SENT)
            } else {
                (ended_elsewhere(&mut diag, remote, local), SENT, ANSWERED)
            };
            let case = format!(
                "{how}, outgoing {outgoing}, seen {seen}: {:?}",
                row.accuracy
            );
            println!("{case} {:?}", row.payload);
            let short = payload(rx - 1, tx);
            match row.accuracy {
                Accuracy::Exact => {
                    exact += 1;
                    assert_eq!(row.payload, Some(payload(rx, tx)), "{case}");
                }
                _ => assert!(
                    [short, payload(rx, tx)].map(Some).contains(&row.payload),
                    "{case}"
                ),
            }
        }
    }
    // It cannot be told where this side shut down first and then read to the end.
    assert!(exact >= 8, "{exact} of 16");
}

#[test]
fn a_connection_that_closes_after_it_was_seen_is_exact_for_its_owner() {
    own_namespace();
    for (how, close) in CLOSES {
        let mut diag = SockDiag::start(false).unwrap();
        let (client, server) = pair("127.0.0.1:0");
        send(&client, &server, 1234);
        diag.read().unwrap();
        exchange(&client, &server);
        let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        close(client, server);
        let (near, far, reading) = ends(&mut diag, near, far);
        println!("{how}");
        assert_exact(&near, ANSWERED, SENT + 1234);
        assert_exact(&far, SENT + 1234, ANSWERED);
        let this = row(&reading, process::id());
        let all = SENT + ANSWERED + 1234;
        assert_eq!(this.payload, payload(all, all));
        assert_complete(this);
        assert_eq!(near.owner_name.as_ref(), Some(&this.name));
    }
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
fn a_thousand_short_connections_are_exact() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..1000 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        send(&client, &server, 501);
        send(&server, &client, 77);
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut rows = 0;
    loop {
        let reading = diag.read().unwrap();
        rows += reading
            .closed
            .iter()
            .filter(|row| row.remote.is_some())
            .count();
        assert!(
            reading
                .closed
                .iter()
                .all(|row| row.accuracy == Accuracy::Exact)
        );
        if rows == 2000 {
            let mut sum = Payload::default();
            for row in &reading.processes {
                sum.rx_bytes += row.payload.rx_bytes;
                sum.tx_bytes += row.payload.tx_bytes;
            }
            assert_eq!(sum, payload(578_000, 578_000));
            return;
        }
        assert!(Instant::now() < deadline, "{rows}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_multipath_connection_is_its_owners() {
    use std::os::fd::FromRawFd;

    use nix::{
        libc,
        sys::socket::{SockaddrIn, connect},
    };
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
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
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let reading = diag.read().unwrap();
    let local = socket.local_addr().unwrap();
    let listed = find(&reading.open, local, "127.0.0.1:9".parse().unwrap()).unwrap();
    assert_eq!(listed.payload, None);
    assert_eq!(listed.owner.unwrap().pid, Pid(process::id()));
    assert_ne!(row(&reading, process::id()).accuracy, Accuracy::Exact);
}

const CHILD_ADDRESS: &str = "NETWATCH_TEST_ADDRESS";

/// The other process of the test below; on its own it does nothing.
#[test]
fn child() {
    let Ok(address) = env::var(CHILD_ADDRESS) else {
        return;
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&vec![1; SENT]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
}

#[test]
fn each_process_gets_its_own_bytes_and_keeps_them_when_it_has_exited() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "backend::sock_diag::live::child"])
        .env(CHILD_ADDRESS, listener.local_addr().unwrap().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut server, far) = listener.accept().unwrap();
    server.read_exact(&mut vec![0; SENT]).unwrap();
    let reading = diag.read().unwrap();
    assert_eq!(row(&reading, child.id()).payload, payload(0, SENT));
    assert!(row(&reading, child.id()).alive);
    let near = server.local_addr().unwrap();
    server.write_all(&vec![2; ANSWERED]).unwrap();
    drop(server);
    assert!(child.wait().unwrap().success());
    let (_, _, reading) = ends(&mut diag, far, near);
    let theirs = row(&reading, child.id());
    assert_eq!(theirs.payload, payload(ANSWERED, SENT));
    assert_eq!((theirs.accuracy, theirs.alive), (Accuracy::Exact, false));
    let ours = row(&reading, process::id());
    assert_eq!(ours.payload, payload(SENT, ANSWERED));
}

#[test]
fn sockets_of_other_network_namespaces_are_read_too() {
    let mut elsewhere = Command::new("unshare")
        .args(["--net", "sh", "-c"])
        .arg("ip link set lo up && ip addr show lo && exec sleep 30")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs the command unshare (util-linux)");
    let mut up = [0];
    elsewhere
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut up)
        .unwrap();
    let mut diag = SockDiag::start(true).unwrap();
    let inside = thread::spawn({
        let path = format!("/proc/{}/ns/net", elsewhere.id());
        move || {
            let file = std::fs::File::open(path).unwrap();
            nix::sched::setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            let pair = pair("127.0.0.1:0");
            exchange(&pair.0, &pair.1);
            pair
        }
    });
    let (client, server) = inside.join().unwrap();
    let reading = diag.read().unwrap();
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    let row = open_row(&reading, &client);
    assert_exact(row, ANSWERED, SENT);
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
    let own = std::fs::metadata("/proc/thread-self/ns/net").unwrap();
    let own = std::os::unix::fs::MetadataExt::ino(&own);
    assert_ne!(u64::from(row.netns.unwrap().inode), own);
    assert!(row.netns.unwrap().cookie.is_some());
}

#[test]
fn without_room_for_all_ends_the_overrun_is_reported_and_nothing_claims_to_be_exact() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    send(&client, &server, 1234);
    diag.read().unwrap();
    diag.own().closings.as_ref().unwrap().shrink();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..200 {
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        drop(listener.accept().unwrap());
    }
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop((client, server));
    // The kernel tells from a work queue.
    thread::sleep(Duration::from_millis(100));
    let closed = loop {
        let reading = diag.read().unwrap();
        if let Some(row) = find(&reading.closed, near, far) {
            assert_ne!(reading.processes[0].accuracy, Accuracy::Exact);
            assert!(reading.lost.unreadable > 0);
            break row.clone();
        }
    };
    assert_eq!(closed.payload, Some(payload(0, 1234)));
    assert_eq!(closed.accuracy, Accuracy::LowerBound);
    assert!(
        diag.limits()
            .iter()
            .any(|it| it.contains("more sockets closed"))
    );
}

#[test]
fn where_ends_cannot_be_heard_of_figures_are_a_lower_bound_and_the_reason_is_given() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let refused = crate::Error::new(crate::ErrorKind::Permission, "not permitted");
    diag.own().closings = Err(refused);
    let (client, server) = pair("127.0.0.1:0");
    send(&client, &server, 1234);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 1234);
    assert_ne!(row(&reading, process::id()).accuracy, Accuracy::Exact);
    send(&client, &server, 4321);
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop((client, server));
    let (near, far, reading) = ends(&mut diag, near, far);
    assert_eq!(near.payload, Some(payload(0, 1234)));
    assert_eq!(near.accuracy, Accuracy::LowerBound);
    assert_eq!(far.payload, Some(payload(1234, 0)));
    assert_eq!(row(&reading, process::id()).payload, payload(1234, 1234));
    assert!(
        diag.limits()[0].contains("not permitted"),
        "{:?}",
        diag.limits()
    );
}

#[test]
fn a_shared_socket_counts_once_and_marks_its_holders_as_estimates() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
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
fn counters_that_the_kernel_cleared_at_the_end_leave_the_last_figures_as_a_lower_bound() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    diag.read().unwrap();
    let none = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &none).unwrap();
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop(client);
    drop(server);
    let (near, _, reading) = ends(&mut diag, near, far);
    assert_eq!(near.payload, Some(payload(ANSWERED, SENT)));
    assert_eq!(near.accuracy, Accuracy::LowerBound);
    let all = payload(SENT + ANSWERED, SENT + ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, all);
}

#[test]
fn counters_that_the_kernel_cleared_before_any_reading_leave_nothing_that_is_called_exact() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    let none = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &none).unwrap();
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop(client);
    drop(server);
    let row = ended_elsewhere(&mut diag, far, near);
    assert_eq!(row.accuracy, Accuracy::LowerBound);
    assert_eq!(row.payload, Some(payload(SENT - 1, ANSWERED)));
    let limits = diag.limits();
    assert!(
        limits[0].contains("1 TCP connections were aborted"),
        "{limits:?}"
    );
}

#[test]
fn a_namespace_that_appears_later_counts_from_its_first_byte() {
    let mut diag = SockDiag::start(true).unwrap();
    let mut elsewhere = Command::new("unshare")
        .args(["--net", "sh", "-c"])
        .arg("ip link set lo up && ip addr show lo && exec sleep 30")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs the command unshare (util-linux)");
    elsewhere
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();
    let path = format!("/proc/{}/ns/net", elsewhere.id());
    let inside = thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        nix::sched::setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        let pair = pair("127.0.0.1:0");
        exchange(&pair.0, &pair.1);
        pair
    });
    let (client, _server) = inside.join().unwrap();
    let reading = diag.read().unwrap();
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    assert_exact(open_row(&reading, &client), ANSWERED, SENT);
    let this = row(&reading, process::id());
    let all = payload(SENT + ANSWERED, SENT + ANSWERED);
    // Other tests of this process move bytes as well.
    assert!(this.payload.rx_bytes >= all.rx_bytes, "{this:?}");
    assert!(this.payload.tx_bytes >= all.tx_bytes, "{this:?}");
    // This process is older than the namespace's discovery.
    assert_ne!(this.accuracy, Accuracy::Exact);
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

const CHILD_USER: &str = "NETWATCH_TEST_USER";

/// Run as another user by the test below; on its own it does nothing.
#[test]
fn child_without_privileges() {
    if env::var_os(CHILD_USER).is_none() {
        return;
    }
    let mut diag = SockDiag::start(true).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), ANSWERED, SENT);
    let this = payload(SENT + ANSWERED, SENT + ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, this);
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop((client, server));
    let (near, far, reading) = ends(&mut diag, near, far);
    assert_exact(&near, ANSWERED, SENT);
    assert_exact(&far, SENT, ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, this);
    let limits = diag.limits();
    assert!(
        limits
            .iter()
            .any(|it| it.contains("processes of other users")),
        "{limits:?}"
    );
    println!("{limits:#?}");
}

#[test]
fn an_unprivileged_user_gets_the_exact_figures_of_its_own_processes() {
    own_namespace();
    // The test program is in a folder that other users may not enter.
    let folder = tempfile::Builder::new()
        .prefix("netwatch")
        .tempdir()
        .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let program = folder.path().join("child");
    std::fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .arg(program)
        .args(["--exact", "--nocapture"])
        .arg("backend::sock_diag::live::child_without_privileges")
        .env(CHILD_USER, "1")
        .current_dir("/")
        .output()
        .expect("this test needs the command setpriv (util-linux)");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

/// Prints how long readings of many sockets take; run by hand, with `--release`.
#[test]
#[ignore = "a measurement"]
fn measure_ten_thousand_sockets() {
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets: Vec<_> = (0..5000)
        .map(|_| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        })
        .collect();
    let cpu = || {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        Duration::from(clock.now().unwrap())
    };
    let mut first = None;
    let mut times = Vec::new();
    let mut lists = Vec::new();
    let mut tools = Vec::new();
    for _ in 0..15 {
        let (begin, busy) = (Instant::now(), cpu());
        assert!(diag.read().unwrap().open.len() > 10_000);
        let time = (begin.elapsed(), cpu() - busy);
        match first {
            None => first = Some(time),
            Some(_) => times.push(time),
        }
        let (begin, busy) = (Instant::now(), cpu());
        diag.own().lister.list().unwrap();
        lists.push((begin.elapsed(), cpu() - busy));
        let begin = Instant::now();
        let output = Command::new("ss").arg("-tunapi").output().unwrap();
        let ran = begin.elapsed();
        assert!(crate::parse::ss::parse_ss(&output.stdout).sockets.len() > 10_000);
        tools.push((begin.elapsed(), ran));
    }
    println!("first reading, with owners (wall, CPU): {first:?}");
    println!(
        "a reading, best of 14 (wall, CPU): {:?}",
        times.iter().min()
    );
    println!("its lists (wall, CPU): {:?}", lists.iter().min());
    println!("ss -tunapi (run and parsed, run): {:?}", tools.iter().min());
    drop(sockets);
}
