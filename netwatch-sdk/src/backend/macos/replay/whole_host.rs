//! What a recorded host reads as, and the same host a moment later.

use super::*;

#[test]
fn a_socket_has_what_all_three_tools_say_of_it() {
    let reading = whole_host().read();
    assert_eq!(reading.source, Source::Nettop);
    assert!(reading.lost.is_empty());
    let id = ProcessId {
        pid: Pid(7429),
        started: Some(Duration::from_secs(33 * 3600 + 25 * 60 + 55)),
    };
    let chrome = socket(&reading.open, "192.0.2.10:50001");
    assert_eq!(
        *chrome,
        Socket {
            id: chrome.id,
            netns: None,
            protocol: Protocol::Tcp,
            local: "192.0.2.10:50001".parse().unwrap(),
            remote: Some("198.51.100.7:443".parse().unwrap()),
            state: SocketState::Established,
            direction: None,
            uid: Some(501),
            cgroup_id: None,
            owner: Some(id),
            owner_name: Some("Google Chrome Helper".into()),
            shared: false,
            payload: Some(bytes(99_930, 20_000)),
            wire: None,
            rtt: Some(crate::reading::Rtt {
                smoothed: Duration::from_micros(108_530),
                variation: None,
                minimum: None,
            }),
            retransmits: None,
            accuracy: Accuracy::LowerBound,
        }
    );
}

#[test]
fn every_row_of_nettop_is_one_socket() {
    let reading = whole_host().read();
    let sockets: Vec<_> = reading
        .open
        .iter()
        .map(|socket| {
            (
                socket.protocol.to_string(),
                socket.local.to_string(),
                socket.state.name(socket.protocol),
                socket.payload.map(|payload| payload.rx_bytes),
                socket.owner.map(|owner| owner.pid.0),
            )
        })
        .collect();
    let row = |protocol: &str, local: &str, state, rx, pid| {
        (protocol.to_owned(), local.to_owned(), state, rx, pid)
    };
    assert_eq!(
        sockets,
        [
            row("TCP", "127.0.0.1:57970", "ESTABLISHED", Some(322_736), None),
            row("UDP", "[::]:5353", "UNCONN", Some(500_600), Some(272)),
            row("UDP", "0.0.0.0:5353", "UNCONN", Some(466_000), Some(272)),
            row("UDP", "0.0.0.0:0", "UNCONN", None, Some(272)),
            row(
                "TCP",
                "192.0.2.10:50001",
                "ESTABLISHED",
                Some(99_930),
                Some(7429)
            ),
            row(
                "UDP",
                "192.0.2.10:50002",
                "ESTABLISHED",
                Some(1_000_000),
                Some(7429)
            ),
            row(
                "TCP",
                "[2001:db8::10]:50003",
                "CLOSE_WAIT",
                Some(4200),
                Some(65506)
            ),
            row(
                "UDP",
                "[fe80::1234]:52214",
                "ESTABLISHED",
                Some(42),
                Some(65506)
            ),
            row("TCP", "0.0.0.0:8000", "LISTEN", None, Some(2852)),
            row("TCP", "[::]:8000", "LISTEN", None, Some(2852)),
        ]
    );
    let listening = socket(&reading.open, "0.0.0.0:8000");
    assert_eq!(listening.direction, Some(Direction::Listening));
    let kernel = socket(&reading.open, "127.0.0.1:57970");
    assert_eq!(kernel.owner_name.as_deref(), Some("kernel_task"));
}

#[test]
fn totals_begin_at_zero_and_hold_what_moved_since() {
    let mut mac = whole_host();
    let first = mac.read();
    for process in &first.processes {
        assert_eq!(process.payload, bytes(0, 0), "{}", process.name);
    }
    mac.says(
        "nettop",
        Mac::fixture("nettop/macos26_all_columns_later.txt"),
    );
    let second = mac.read();
    let totals: Vec<_> = second
        .processes
        .iter()
        .map(|process| (process.name.as_str(), process.payload, process.sockets))
        .collect();
    assert_eq!(
        totals,
        [
            ("mDNSResponder", bytes(50, 0), 3),
            ("python3.11", bytes(300, 900), 3),
            // 2000 in and 2000 out on the old connection without what moved
            // again, and all of the new one.
            ("Google Chrome Helper", bytes(2100 + 1000, 2000 + 400), 2),
            ("Codex (Service)", bytes(0, 0), 2),
            ("[kernel]", bytes(100, 500), 0),
        ]
    );
    assert_eq!(process(&second, 7429).accuracy, Accuracy::LowerBound);
    assert_eq!(process(&second, 272).accuracy, Accuracy::Estimate);
    assert_eq!(second.lost, first.lost);
}

#[test]
fn a_socket_keeps_its_number_and_a_new_one_that_came_in_says_so() {
    let mut mac = whole_host();
    let first = mac.read();
    mac.says(
        "nettop",
        Mac::fixture("nettop/macos26_all_columns_later.txt"),
    );
    let second = mac.read();
    for old in first
        .open
        .iter()
        .filter(|old| !old.local.to_string().ends_with("50002"))
    {
        let now = second.open.iter().find(|now| now.id == old.id).unwrap();
        assert_eq!((now.local, now.remote), (old.local, old.remote));
    }
    let came_in = socket(&second.open, "192.0.2.10:8000");
    assert_eq!(came_in.direction, Some(Direction::Incoming));
    let gone_out = socket(&second.open, "192.0.2.10:50011");
    assert_eq!(gone_out.direction, None);
}

#[test]
fn a_socket_that_is_gone_is_reported_once_with_its_last_figures() {
    let mut mac = whole_host();
    mac.read();
    mac.says(
        "nettop",
        Mac::fixture("nettop/macos26_all_columns_later.txt"),
    );
    let second = mac.read();
    let closed: Vec<_> = second
        .closed
        .iter()
        .map(|socket| (socket.local.to_string(), socket.payload, socket.state))
        .collect();
    assert_eq!(
        closed,
        [(
            "192.0.2.10:50002".into(),
            Some(bytes(1_000_000, 32_000)),
            SocketState::Closed
        )]
    );
    assert_eq!(second.closed[0].owner.unwrap().pid, Pid(7429));
    assert!(mac.read().closed.is_empty());
}
