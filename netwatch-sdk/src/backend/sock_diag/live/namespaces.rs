//! Other network namespaces.

use std::{
    io::Read,
    process::{self, Command, Stdio},
    thread,
};

use nix::sched::CloneFlags;

use super::SockDiag;
use crate::{
    backend::{
        Measure,
        loopback::{ANSWERED, SENT, assert_exact, exchange, open_row, pair, payload, row},
    },
    reading::Accuracy,
};

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
