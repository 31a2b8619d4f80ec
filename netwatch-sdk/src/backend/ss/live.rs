//! The tool of this host on real connections, compared to the byte.

use std::{
    io::{Read, Write},
    net::Shutdown,
    process::{self, Command},
    thread,
    time::Duration,
};

use super::{Ran, RunSs, Ss};
use crate::{
    Error,
    backend::{
        Measure,
        loopback::{
            ANSWERED, SENT, assert_exact, exchange, find, open_row, own_namespace, pair, payload,
            row, send,
        },
    },
    reading::{Accuracy, Direction, SocketState},
};

fn run() -> RunSs {
    Box::new(|arguments| {
        let mut command = Command::new("ss");
        let output = command.args(arguments).env("LC_ALL", "C").output();
        let output = output.map_err(|cause| Error::io("run ss", cause))?;
        Ok(Ran {
            success: output.status.success(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    })
}

fn start() -> Ss {
    own_namespace();
    Ss::start(run()).expect("these tests need the command ss (iproute2)")
}

fn open_connection(address: &str) {
    let mut ss = start();
    let (client, server) = pair(address);
    exchange(&client, &server);
    let reading = ss.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.direction, Some(Direction::Outgoing));
    assert!(near.rtt.unwrap().smoothed > Duration::ZERO);
    let far = open_row(&reading, &server);
    assert_exact(far, SENT, ANSWERED);
    assert_eq!(far.direction, Some(Direction::Incoming));
    let this = row(&reading, process::id());
    assert_eq!(this.payload, payload(SENT + ANSWERED, SENT + ANSWERED));
    assert_ne!(this.accuracy, Accuracy::Exact);
    assert_eq!(near.owner_name.as_ref(), Some(&this.name));
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
    let mut ss = start();
    let (mut client, mut server) = pair("127.0.0.1:0");
    client.write_all(&[1; 5000]).unwrap();
    server.read_exact(&mut [0; 2000]).unwrap();
    let reading = ss.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 5000);
    assert_exact(open_row(&reading, &server), 2000, 0);
}

#[test]
fn half_closed_connections_are_exact_before_and_after_the_end_was_read() {
    let mut ss = start();
    let (client, mut server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    client.shutdown(Shutdown::Write).unwrap();
    // An acknowledgement is late by 40 ms at most.
    thread::sleep(Duration::from_millis(100));
    let reading = ss.read().unwrap();
    let near = open_row(&reading, &client);
    assert_exact(near, ANSWERED, SENT);
    assert_eq!(near.state, SocketState::FinWait2);
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    let reading = ss.read().unwrap();
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
}

#[test]
fn bytes_moved_before_the_start_are_the_sockets_and_not_the_processes() {
    own_namespace();
    let (client, server) = pair("127.0.0.1:0");
    send(&client, &server, 1000);
    let mut ss = Ss::start(run()).unwrap();
    send(&client, &server, 234);
    let reading = ss.read().unwrap();
    assert_exact(open_row(&reading, &client), 0, 1234);
    assert_eq!(row(&reading, process::id()).payload, payload(234, 234));
}

#[test]
fn a_connection_that_closed_is_a_lower_bound_with_its_last_figures() {
    let mut ss = start();
    let (client, server) = pair("127.0.0.1:0");
    send(&client, &server, 1234);
    ss.read().unwrap();
    send(&client, &server, 4321);
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop((client, server));
    ss.read().unwrap();
    let reading = ss.read().unwrap();
    let closed = find(&reading.closed, near, far).unwrap();
    assert_eq!(closed.payload, Some(payload(0, 1234)));
    assert_eq!(closed.accuracy, Accuracy::LowerBound);
    assert_eq!(row(&reading, process::id()).payload, payload(1234, 1234));
}
