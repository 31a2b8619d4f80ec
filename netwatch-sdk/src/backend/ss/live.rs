//! The tool of this host on real connections, compared to the byte.

use std::{
    process::{self, Command},
    time::{Duration, Instant},
};

use super::{Ran, RunSs, Ss};
use crate::{
    Error,
    backend::{
        Measure,
        loopback::{self, assert_exact, find, open_row, own_namespace, pair, payload, row, send},
    },
    reading::Accuracy,
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
    let (reading, ..) = loopback::open_connection(&mut start(), address);
    // What closes between two readings is not seen.
    assert_ne!(row(&reading, process::id()).accuracy, Accuracy::Exact);
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
fn half_closed_connections_are_exact_before_and_after_the_end_was_read() {
    loopback::half_closed(&mut start());
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
    // A program that another test starts holds this process's sockets for a moment.
    let deadline = Instant::now() + Duration::from_secs(5);
    let (closed, reading) = loop {
        let reading = ss.read().unwrap();
        if let Some(row) = find(&reading.closed, near, far) {
            break (row.clone(), reading);
        }
        assert!(Instant::now() < deadline, "{reading:#?}");
    };
    assert_eq!(closed.payload, Some(payload(0, 1234)));
    assert_eq!(closed.accuracy, Accuracy::LowerBound);
    assert_eq!(row(&reading, process::id()).payload, payload(1234, 1234));
}
