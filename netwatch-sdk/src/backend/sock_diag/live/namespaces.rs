//! Other network namespaces.

use std::process;

use super::{Elsewhere, SockDiag, described, listed, start};
use crate::{
    backend::{
        Measure,
        loopback::{ANSWERED, SENT, assert_exact, exchange, open_row, pair, payload, row},
    },
    reading::Accuracy,
};

#[test]
fn sockets_of_other_network_namespaces_are_read_too() {
    let elsewhere = Elsewhere::alone();
    let mut diag = SockDiag::start(true).unwrap();
    let (client, server) = elsewhere.run(|| pair("127.0.0.1:0"));
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    let row = open_row(&reading, &client);
    assert_exact(row, ANSWERED, SENT);
    assert_exact(open_row(&reading, &server), SENT, ANSWERED);
    let own = std::fs::metadata("/proc/thread-self/ns/net").unwrap();
    let own = std::os::unix::fs::MetadataExt::ino(&own);
    assert_ne!(u64::from(row.netns.unwrap().inode), own);
    assert!(row.netns.unwrap().cookie.is_some());
}

#[test]
fn a_namespace_that_appears_later_counts_from_its_first_byte() {
    let mut diag = SockDiag::start(true).unwrap();
    let elsewhere = Elsewhere::alone();
    let (client, server) = elsewhere.run(|| pair("127.0.0.1:0"));
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), ANSWERED, SENT);
    let this = row(&reading, process::id());
    let all = payload(SENT + ANSWERED, SENT + ANSWERED);
    // Other tests of this process move bytes as well.
    assert!(this.payload.rx_bytes >= all.rx_bytes, "{this:?}");
    assert!(this.payload.tx_bytes >= all.tx_bytes, "{this:?}");
    // This process is older than the namespace's discovery.
    assert_ne!(this.accuracy, Accuracy::Exact);
}

/// As before Linux 5.3, where each namespace counts cookies from one.
#[test]
fn sockets_of_two_namespaces_with_the_same_cookie_are_two() {
    let mut diag = start();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    let near = described(&mut diag, &client);
    let mut closed = Vec::new();
    for reading in 2..4 {
        diag.reading = reading;
        for inode in [1, 2] {
            let listed = listed(inode, &near);
            assert_eq!(diag.count(listed, &mut closed), []);
        }
        let mut open = Vec::new();
        diag.rows(&mut open, &mut closed);
        let mut found: Vec<u32> = open.iter().map(|it| it.netns.unwrap().inode).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        open.iter()
            .for_each(|row| assert_exact(row, ANSWERED, SENT));
    }
    let mut last = listed(1, &near);
    last.changed.clear();
    last.ends.push(near.clone());
    diag.reading = 4;
    diag.count(last, &mut closed);
    assert_eq!(closed.len(), 1);
    let left: Vec<u32> = diag.tracked.keys().map(|key| key.netns).collect();
    assert_eq!(left, [2]);
}
