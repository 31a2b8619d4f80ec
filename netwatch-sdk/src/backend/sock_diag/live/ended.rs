//! Sockets that ended before a reading.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    process, thread,
    time::{Duration, Instant},
};

use super::{
    super::message::DiagSocket, CLOSES, Elsewhere, SockDiag, described, ended_elsewhere, ends,
    listed, start,
};
use crate::{
    backend::{
        Measure,
        loopback::{
            ANSWERED, SENT, assert_complete, assert_exact, exchange, find, open_row, own_namespace,
            pair, payload, row, send,
        },
    },
    reading::{Accuracy, Attribution, Payload},
};

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
fn a_thousand_short_connections_are_exact() {
    let mut diag = start();
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
fn counters_that_the_kernel_cleared_at_the_end_leave_the_last_figures_as_a_lower_bound() {
    let mut diag = start();
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
    let mut diag = start();
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
fn without_room_for_all_ends_the_overrun_is_reported_and_nothing_claims_to_be_exact() {
    let mut diag = start();
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
    let mut diag = start();
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
fn a_socket_below_tls_whose_end_was_not_heard_of_stays_an_estimate_and_another_is_a_lower_bound() {
    let mut diag = start();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    let plain = described(&mut diag, &client);
    let mut below = described(&mut diag, &server);
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for has_ulp in [true, false] {
        below.has_ulp = has_ulp;
        let mut list = listed(1, &plain);
        list.changed.push(below.clone());
        diag.reading += 1;
        diag.count(list, &mut closed);
    }
    for _ in 0..3 {
        diag.rows(&mut open, &mut closed);
        diag.reading += 1;
    }
    let gone = |socket: &DiagSocket| {
        let row = closed.iter().find(|row| row.id == socket.id).unwrap();
        (row.payload, row.accuracy)
    };
    let bound = (Some(payload(ANSWERED, SENT)), Accuracy::LowerBound);
    assert_eq!(gone(&plain), bound);
    let estimate = (Some(payload(SENT, ANSWERED)), Accuracy::Estimate);
    assert_eq!(gone(&below), estimate);
}
