//! Stand-in programs that print what `nettop`, `lsof` and `ps` print, run by
//! the real runner: from the command to the reading, value by value.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::*;
use crate::{
    ErrorKind,
    reading::{
        Accuracy, Attribution, Direction, Payload, Pid, Process, ProcessId, Protocol, Socket,
        SocketState, Source,
    },
};

mod history;
mod recorded;

const HEADER: &str = "time,,interface,state,bytes_in,bytes_out,rx_dupe,rx_ooo,re-tx,rtt_avg,\n";
const PS: &str =
    "1 Fri Aug  1 09:00:00 2025\n7 Fri Aug  1 09:00:10 2025\n8 Fri Aug  1 09:00:20 2025\n";

/// A folder of stand-ins, and a backend that finds its programs there only.
struct Mac {
    folder: tempfile::TempDir,
    backend: Macos,
}

impl Mac {
    /// With `lsof` that sees nothing and `ps` that knows pids 1, 7 and 8.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runner = Runner::in_directories([folder.path().to_owned()])
            .with_time_limit(Duration::from_secs(2));
        let mac = Self {
            folder,
            backend: Macos::new(runner),
        };
        mac.program("nettop", "-n -x -L 1");
        mac.program("lsof", "-n -P -w -i -FpcuftdPTn");
        mac.program("ps", "-axo pid=,lstart=");
        mac.says("lsof", "");
        mac.says("ps", PS);
        mac
    }

    fn fixture(path: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        fs::read(folder.join(path)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Prints its answer when called with these arguments, and its usage, like
    /// `nettop` with status 0, when called with others.
    fn program(&self, name: &str, arguments: &str) {
        let path = self.path(name);
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = probe ] && exit\n[ \"$*\" = \"{arguments}\" ] || {{ echo usage: {name}; exit; }}\n[ \"$LC_ALL\" = C ] || exit 9\ncat \"$0.says\"\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Until no other thread's child has it open for writing any more.
        while Command::new(&path).arg("probe").status().is_err() {}
    }

    fn says(&self, name: &str, output: impl AsRef<[u8]>) {
        fs::write(self.path(&format!("{name}.says")), output).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn read(&mut self) -> Reading {
        self.backend.read().unwrap()
    }

    /// What one run of `nettop` with these rows reads as.
    fn nettop(&mut self, rows: &str) -> Reading {
        self.says("nettop", format!("{HEADER}{rows}"));
        self.read()
    }
}

fn bytes(rx_bytes: u64, tx_bytes: u64) -> Payload {
    Payload { rx_bytes, tx_bytes }
}

fn process(reading: &Reading, pid: u32) -> &Process {
    let mut all = reading
        .processes
        .iter()
        .filter(|process| matches!(process.id, Attribution::Process(id) if id.pid == Pid(pid)));
    let process = all.next().unwrap();
    assert!(all.next().is_none(), "two rows for {pid}");
    process
}

fn total(reading: &Reading, pid: u32) -> Payload {
    process(reading, pid).payload
}

fn socket<'a>(sockets: &'a [Socket], local: &str) -> &'a Socket {
    let mut all = sockets
        .iter()
        .filter(|socket| socket.local.to_string() == local);
    let socket = all.next().unwrap_or_else(|| panic!("no socket at {local}"));
    assert!(all.next().is_none(), "two sockets at {local}");
    socket
}

fn whole_host() -> Mac {
    let mac = Mac::new();
    mac.says("nettop", Mac::fixture("nettop/macos26_all_columns.txt"));
    mac.says("lsof", Mac::fixture("lsof/macos_fields_own_processes.txt"));
    mac.says("ps", Mac::fixture("ps/macos_pid_lstart_all.txt"));
    mac
}

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
fn a_line_that_cannot_be_read_for_once_closes_nothing_and_counts_nothing_twice() {
    let mut mac = Mac::new();
    let row = |line| format!("t,a.7,,,9,9,0,0,0,,\nt,{line},0,0,0,,\n");
    mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,10",
    ));
    let torn = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1x0,10",
    ));
    assert_eq!(torn.lost.unreadable, 1);
    assert_eq!((torn.open.len(), torn.closed.len()), (0, 0));
    let whole = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,170,10",
    ));
    assert_eq!(total(&whole, 7), bytes(70, 0));
    assert_eq!(whole.lost.unreadable, 1);
}

#[test]
fn a_line_that_could_not_be_read_at_first_is_not_taken_for_a_new_socket() {
    let mut mac = Mac::new();
    let row = |line| format!("t,a.7,,,100,0,0,0,0,,\nt,{line},0,0,0,,\n");
    mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1x0,10",
    ));
    let whole = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,170,10",
    ));
    assert_eq!(total(&whole, 7), bytes(0, 0));
}

#[test]
fn a_line_that_is_never_readable_does_not_keep_gone_sockets_for_ever() {
    let mut mac = Mac::new();
    let bad = "t,tcp9 x<->y,,,1,2,0,0,0,,\n";
    mac.nettop(&format!(
        "t,a.7,,,1,2,0,0,0,,\n{bad}t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,0,0,0,,\n"
    ));
    let closed: Vec<_> = (0..4)
        .map(|_| {
            mac.nettop(&format!("t,a.7,,,1,2,0,0,0,,\n{bad}"))
                .closed
                .len()
        })
        .collect();
    assert_eq!(closed, [0, 0, 1, 0]);
}

#[test]
fn sockets_of_a_process_that_cannot_be_read_are_unattributed() {
    let mut mac = Mac::new();
    mac.nettop("");
    let reading = mac.nettop(
        "t,nobody,,,5,6,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,5,6,0,0,0,,\n",
    );
    assert_eq!(
        reading.lost.unattributed_rx_bytes + reading.lost.unattributed_tx_bytes,
        11
    );
    assert_eq!(reading.open[0].owner, None);
    assert_eq!(reading.processes[0].name, "[unknown]");
    assert_eq!(reading.processes[0].payload, bytes(5, 6));
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

#[test]
fn figures_without_the_columns_to_correct_them_are_an_estimate() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.says(
        "nettop",
        "time,,interface,state,bytes_in,bytes_out,\nt,a.7,,,5,6,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,5,6,\n",
    );
    let reading = mac.read();
    assert_eq!(reading.open[0].payload, Some(bytes(5, 6)));
    assert_eq!(reading.open[0].accuracy, Accuracy::Estimate);
    assert_eq!(process(&reading, 7).accuracy, Accuracy::Estimate);
}

#[test]
fn without_nettop_there_are_sockets_and_owners_and_no_bytes() {
    let mut mac = whole_host();
    mac.remove("nettop");
    let reading = mac.read();
    assert_eq!(reading.source, Source::Lsof);
    assert_eq!(mac.backend.trouble.as_deref(), Some("no program nettop"));
    assert_eq!(reading.lost.unreadable, 1);
    let chrome = socket(&reading.open, "192.0.2.10:50001");
    assert_eq!(chrome.payload, None);
    assert_eq!(chrome.owner.unwrap().pid, Pid(7429));
    assert_eq!(chrome.state, SocketState::Established);
    assert_eq!(reading.open.len(), 3);
    mac.says("lsof", "");
    assert_eq!(mac.read().closed.len(), 3);
}

#[test]
fn when_nettop_is_refused_for_a_while_totals_stay_and_then_catch_up() {
    let mut mac = Mac::new();
    mac.says(
        "lsof",
        "p7\nca\nf3\ntIPv4\nPTCP\nn192.0.2.1:1->192.0.2.2:2\nTST=ESTABLISHED\n",
    );
    let row = |rx| {
        format!(
            "t,a.7,,,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:9<->192.0.2.2:2,en0,Established,0,0,0,0,0,,\n"
        )
    };
    mac.nettop(&row(100));
    let before = mac.nettop(&row(140));
    assert_eq!(mac.backend.trouble.as_deref(), None);
    mac.says("nettop", Mac::fixture("nettop/macos_usage.txt"));
    let during = mac.read();
    assert_eq!(during.source, Source::Lsof);
    assert!(
        mac.backend
            .trouble
            .as_deref()
            .unwrap()
            .starts_with("nettop printed no header")
    );
    assert_eq!(total(&during, 7), bytes(40, 0));
    assert_eq!((during.open.len(), during.closed.len()), (1, 0));
    assert_eq!(during.open[0].id, before.open[0].id);
    assert_eq!(during.open[0].payload, None);

    mac.says("nettop", format!("{HEADER}{}", row(200)));
    let paused = mac.read();
    assert_eq!(paused.source, Source::Lsof);
    let back = mac.read();
    assert_eq!(back.source, Source::Nettop);
    assert_eq!(mac.backend.trouble.as_deref(), None);
    assert_eq!(total(&back, 7), bytes(100, 0));
    assert_eq!((back.open.len(), back.closed.len()), (2, 0));
}

#[test]
fn a_tool_that_hangs_is_left_alone_for_longer_each_time() {
    let mut pause = Pause::default();
    let mut asked = Vec::new();
    for reading in 0..150 {
        if pause.is_over() {
            asked.push(reading);
            pause.begin();
        }
    }
    assert_eq!(asked, [0, 2, 5, 10, 19, 36, 69, 102, 135]);
    pause.end();
    assert!(pause.is_over());
}

#[test]
fn without_lsof_there_are_bytes_and_owners_and_no_users() {
    let mut mac = whole_host();
    mac.remove("lsof");
    let reading = mac.read();
    assert_eq!(reading.source, Source::Nettop);
    assert_eq!(reading.lost.unreadable, 1);
    let chrome = socket(&reading.open, "192.0.2.10:50001");
    assert_eq!(chrome.uid, None);
    assert_eq!(chrome.owner_name.as_deref(), Some("Google Chrome H"));
    assert_eq!(chrome.payload, Some(bytes(99_930, 20_000)));
}

#[test]
fn without_ps_processes_have_no_start_and_none_is_said_to_have_ended() {
    let mut mac = Mac::new();
    mac.remove("ps");
    mac.nettop(
        "t,a.7,,,100,0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,0,0,0,0,,\n",
    );
    let reading = mac.nettop("");
    assert!(process(&reading, 7).alive);
    let id = ProcessId {
        pid: Pid(7),
        started: None,
    };
    assert_eq!(process(&reading, 7).id, Attribution::Process(id));
}

#[test]
fn with_neither_list_there_is_an_error_and_not_an_empty_reading() {
    let mut mac = Mac::new();
    mac.remove("nettop");
    mac.remove("lsof");
    let error = mac.backend.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(error::chain(&error), "no program lsof: no program nettop");
}

#[test]
fn a_failure_of_lsof_is_told_from_a_host_without_sockets() {
    let mut mac = Mac::new();
    mac.remove("nettop");
    let path = mac.path("lsof");
    fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
    while Command::new(&path).status().is_err() {}
    assert_eq!(mac.read().open.len(), 0);
    fs::write(&path, "#!/bin/sh\necho lsof: not permitted >&2\nexit 1\n").unwrap();
    while Command::new(&path).status().is_err() {}
    let error = mac.backend.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}
