//! Totals of processes while sockets and processes come, go and change hands.

use super::*;

#[test]
fn a_total_keeps_the_bytes_of_sockets_that_are_gone() {
    let mut mac = Mac::new();
    mac.nettop("t,a.7,,,0,0,0,0,0,,\n");
    let row =
        "t,a.7,,,40,50,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,40,50,0,0,0,,\n";
    assert_eq!(total(&mac.nettop(row), 7), bytes(40, 50));
    let after = mac.nettop("t,a.7,,,0,0,0,0,0,,\n");
    assert_eq!(after.closed.len(), 1);
    assert_eq!(total(&after, 7), bytes(40, 50));
    assert_eq!(process(&after, 7).sockets, 0);
}

#[test]
fn smaller_counters_on_the_same_ends_are_another_socket() {
    let mut mac = Mac::new();
    let row = |rx| {
        format!(
            "t,a.7,,,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,{rx},0,0,0,0,,\n"
        )
    };
    let first = mac.nettop(&row(1000));
    let second = mac.nettop(&row(30));
    assert_eq!(total(&second, 7), bytes(30, 0));
    assert_eq!(second.closed.len(), 1);
    assert_eq!(second.closed[0].id, first.open[0].id);
    assert_ne!(second.open[0].id, first.open[0].id);
}

#[test]
fn a_connection_passed_to_another_process_is_not_counted_twice() {
    let mut mac = Mac::new();
    mac.nettop("");
    let row = |owner, rx| {
        format!(
            "t,{owner},,,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,{rx},0,0,0,0,,\n"
        )
    };
    mac.nettop(&row("a.7", 100));
    let passed = mac.nettop(&row("b.8", 150));
    assert_eq!(total(&passed, 7), bytes(100, 0));
    assert_eq!(total(&passed, 8), bytes(50, 0));
    assert!(passed.closed.is_empty());
    assert_eq!(passed.open[0].owner.unwrap().pid, Pid(8));
}

#[test]
fn a_pid_used_again_is_another_process() {
    let mut mac = Mac::new();
    mac.nettop("");
    let row = |port, rx| {
        format!(
            "t,a.7,,,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:{port}<->192.0.2.2:2,en0,Established,{rx},0,0,0,0,,\n"
        )
    };
    mac.nettop(&row(1, 100));
    mac.says(
        "ps",
        PS.replace("7 Fri Aug  1 09:00:10", "7 Fri Aug  1 11:00:00"),
    );
    let again = mac.nettop(&row(2, 30));
    let rows: Vec<_> = again
        .processes
        .iter()
        .map(|process| (process.payload.rx_bytes, process.alive, process.sockets))
        .collect();
    assert_eq!(rows, [(100, false, 0), (30, true, 1)]);
    assert_eq!(mac.nettop(&row(2, 30)).processes.len(), 1);
}

#[test]
fn a_process_that_ended_has_one_last_row() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.nettop(
        "t,a.7,,,100,0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,0,0,0,0,,\n",
    );
    mac.says(
        "ps",
        "1 Fri Aug  1 09:00:00 2025\n8 Fri Aug  1 09:00:20 2025\n",
    );
    let ended = mac.nettop("");
    assert_eq!(
        (total(&ended, 7), process(&ended, 7).alive),
        (bytes(100, 0), false)
    );
    assert!(mac.nettop("").processes.is_empty());
}

#[test]
fn a_process_without_sockets_that_still_runs_keeps_its_row() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.nettop(
        "t,a.7,,,100,0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,0,0,0,0,,\n",
    );
    for _ in 0..3 {
        let idle = mac.nettop("");
        assert_eq!(
            (total(&idle, 7), process(&idle, 7).alive),
            (bytes(100, 0), true)
        );
    }
}

#[test]
fn bytes_of_a_socket_that_ended_while_nettop_ran_are_in_the_total_once() {
    let mut mac = Mac::new();
    mac.nettop("");
    let lingering =
        "t,a.7,,,1396,2442,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Closed,,,,,,,\n";
    for _ in 0..3 {
        let reading = mac.nettop(lingering);
        assert_eq!(total(&reading, 7), bytes(1396, 2442));
        assert_eq!(reading.open[0].payload, None);
        assert_eq!(process(&reading, 7).accuracy, Accuracy::Estimate);
    }
}

#[test]
fn last_bytes_of_a_known_socket_are_added_to_what_its_row_showed() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.nettop(
        "t,a.7,,,100,10,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,10,0,0,0,,\n",
    );
    for rows in [
        "t,a.7,,,130,10,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Closed,,,,,,,\n",
        "t,a.7,,,130,10,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Closed,,,,,,,\n",
        "t,a.7,,,0,0,0,0,0,,\n",
    ] {
        assert_eq!(total(&mac.nettop(rows), 7), bytes(130, 10));
    }
}

#[test]
fn a_socket_that_two_processes_hold_is_shared_and_counted_once() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.says(
        "lsof",
        "p7\nca\nu501\nf3\ntIPv4\nd0x1\nPTCP\nn192.0.2.1:1->192.0.2.2:2\nTST=ESTABLISHED\np8\ncb\nu501\nf3\ntIPv4\nd0x1\nPTCP\nn192.0.2.1:1->192.0.2.2:2\nTST=ESTABLISHED\n",
    );
    let reading = mac.nettop(
        "t,b.8,,,5,6,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,5,6,0,0,0,,\n",
    );
    assert!(reading.open[0].shared);
    assert_eq!(reading.open[0].owner.unwrap().pid, Pid(8));
    assert_eq!(
        (total(&reading, 7), total(&reading, 8)),
        (bytes(0, 0), bytes(5, 6))
    );
    assert_eq!(process(&reading, 7).accuracy, Accuracy::Estimate);
    assert_eq!(process(&reading, 8).accuracy, Accuracy::Estimate);
}
