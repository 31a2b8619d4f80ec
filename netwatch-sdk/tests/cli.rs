//! The command `netwatch-collector`, run as a user runs it. Needs root.
//!
//! It runs in a network namespace of its own, so that its probes go nowhere.

#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is a failure of its test"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const COLLECTOR: &str = env!("CARGO_BIN_EXE_netwatch-collector");

/// The command in an empty network namespace.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(COLLECTOR).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    alone(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn spawn(arguments: &[&str]) -> Child {
    alone(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code, or a panic when it takes longer than a test may.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it did not end");
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_snapshot_is_one_line_with_every_part() {
    let output = run(&["snapshot", "--interval", "200ms"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 1);
    let snapshot: Value = serde_json::from_str(lines[0]).unwrap();
    for part in ["interfaces", "disk_usage", "processes", "connections"] {
        assert!(snapshot[part].is_array(), "{part}");
    }
    for part in ["system", "health"] {
        assert!(snapshot[part].is_object(), "{part}");
    }
    assert!(snapshot["connection_count"].is_u64());
    assert!(snapshot["system"]["cpu_usage_pct"].is_f64());
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
}

#[test]
fn watch_writes_as_many_lines_as_asked_for() {
    let output = run(&["watch", "--interval", "50ms", "--count", "3"]);
    assert!(output.status.success());
    let snapshots: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(snapshots.len(), 3);
}

#[test]
fn watch_writes_what_a_snapshot_has() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let read = |arguments: &[&str]| {
        let output = run(arguments);
        let snapshot: Value = serde_json::from_str(text(&output.stdout)).unwrap();
        let rows = snapshot["connections"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["local_addr"] == address.as_str());
        let row = row
            .unwrap_or_else(|| panic!("no row for {address}"))
            .clone();
        let names: BTreeSet<String> = snapshot.as_object().unwrap().keys().cloned().collect();
        (row, names)
    };
    let whole = read(&["snapshot", "--interval", "50ms"]);
    let by_row = read(&["watch", "--count", "1"]);
    assert_eq!(by_row, whole);
}

#[test]
fn watch_writes_an_empty_list_when_there_is_no_socket() {
    let output = run(&["watch", "--count", "1", "--backend", "ss"]);
    let snapshot: Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert_eq!(snapshot["connections"], Value::Array(Vec::new()));
    assert!(snapshot["interfaces"].is_array());
}

#[test]
fn a_signal_brings_a_last_snapshot_and_success() {
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = spawn(&["watch", "--interval", "1h"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Once the first is there, the next would come in an hour.
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        signal(&child, end);
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        assert!(lines.next().is_none());
        assert_eq!(ended(&mut child), Some(0), "{end}");
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let mut child = spawn(&["watch", "--interval", "50ms"]);
    let mut first = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child), Some(0));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
}

#[test]
fn wrong_usage_is_code_2_and_says_what_is_right() {
    for wrong in [
        &["snapshot", "--interval", "5x"][..],
        &["snapshot", "--interval", "0"],
        &["watch", "--backend", "magic"],
        &["--nonsense"],
        &["unknown"],
        &[],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(text(&output.stderr).contains("--help") || text(&output.stderr).contains("Usage"));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_forced_backend_that_cannot_run_is_code_3_with_the_reason() {
    let output = run(&["snapshot", "--backend", "nettop"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("macOS"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_hook_can_be_forced_and_is_no_other_backend_s() {
    let output = run(&["snapshot", "--interval", "50ms", "--hook", "tp_btf"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));

    let output = run(&["watch", "--hook", "tp_btf", "--backend", "ss"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["watch", "--hook", "magic"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("tp_btf"));
}

#[test]
fn without_privileges_it_gives_what_it_can_and_one_line_of_advice() {
    let nobody = ["--setuid", "65534", "--setgid", "65534"];
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.arg("--net").args(nobody).arg(COLLECTOR);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = unprivileged(&["snapshot", "--interval", "100ms"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
        assert!(said.contains(capability), "{said}");
    }

    for forced in [["--backend", "ebpf"], ["--hook", "tp_btf"]] {
        let output = unprivileged(&["snapshot", forced[0], forced[1]]);
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).contains("CAP_BPF"));
    }
}

/// Makes connections to a port where nobody listens, until `enough`.
fn connect_until(mut enough: impl FnMut() -> bool) {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !enough() {
        assert!(Instant::now() < deadline, "no event");
        assert!(TcpStream::connect(address).is_err());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn events_are_lines_of_json_with_the_process_that_connects() {
    let mut child = spawn(&["events", "--json"]);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    let mut mine = Vec::new();
    connect_until(|| {
        for line in lines.try_iter() {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["pid"] == std::process::id() {
                mine.push(event);
            }
        }
        mine.len() >= 4
    });
    let [opened, refused, ..] = &mine[..] else {
        panic!("{mine:?}");
    };
    assert_eq!(
        (&opened["event"], &refused["event"]),
        (&"opened".into(), &"refused".into())
    );
    assert_eq!(opened["cookie"], refused["cookie"]);
    assert_eq!(refused["errno"], 111);
    assert_eq!(refused["direction"], "outgoing");
    assert!(refused["process_started_at"].is_string());
    assert!(refused["age_us"].is_f64());
    signal(&child, Signal::SIGINT);
    assert_eq!(ended(&mut child), Some(0));
    drop(lines);
    let _ = reader.join();
}

#[test]
fn events_are_lines_for_people_and_stop_after_as_many_as_asked_for() {
    let mut child = spawn(&["events", "--count", "5"]);
    connect_until(|| child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 5);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() >= 7, "{line}");
        assert!(["->", "<-", "--"].contains(&words[5]), "{line}");
    }
}

#[test]
fn dns_messages_are_events_with_their_question() {
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03cli\x04test\0\0\x1c\0\x01";
    for json in [true, false] {
        let format: &[&str] = if json { &["--json"] } else { &[] };
        let arguments = [&["events", "--only", "dns", "--count", "1"], format].concat();
        let mut child = spawn(&arguments);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "no event");
            // Nobody has to be there.
            socket.send_to(query, "127.0.0.1:53").unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = text(&output.stdout);
        if json {
            let event: Value = serde_json::from_str(line).unwrap();
            let told = (&event["event"], &event["name"], &event["record_type"]);
            assert_eq!(
                told,
                (&"dns_query".into(), &"cli.test".into(), &"AAAA".into())
            );
            assert_eq!(event["pid"], std::process::id());
            assert_eq!(event["dns_id"], 7);
        } else {
            let told = "-> 127.0.0.1:53 cli.test AAAA\n";
            assert!(
                line.contains(" dns_query ") && line.ends_with(told),
                "{line}"
            );
        }
    }
}

#[test]
fn a_closed_pipe_or_a_signal_ends_events_quietly() {
    for end in [None, Some(Signal::SIGTERM)] {
        let mut child = spawn(&["events"]);
        let mut output = child.stdout.take();
        let mut first = [0];
        let mut stdout = output.take().unwrap();
        let reader = thread::spawn(move || {
            stdout.read_exact(&mut first).unwrap();
            stdout
        });
        connect_until(|| reader.is_finished());
        output = Some(reader.join().unwrap());
        match end {
            None => {
                drop(output);
                connect_until(|| child.try_wait().unwrap().is_some());
            }
            Some(end) => signal(&child, end),
        }
        assert_eq!(ended(&mut child), Some(0), "{end:?}");
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(said, "");
    }
}

#[test]
fn events_without_privileges_are_code_3_and_name_what_is_missing() {
    let output = Command::new("unshare")
        .args([
            "--net", "--setuid", "65534", "--setgid", "65534", COLLECTOR, "events",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("CAP_BPF"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn the_doctor_names_hooks_and_backends() {
    let output = run(&["doctor", "--json"]);
    assert!(output.status.success());
    let host: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |list: &str| -> Vec<String> {
        let checks = host[list].as_array().unwrap().iter();
        checks
            .map(|check| check["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for check in ["kernel", "BTF", "capabilities", "cgroup v2", "hook tp_btf"] {
        assert!(names("checks").iter().any(|name| name == check), "{check}");
    }
    assert_eq!(
        names("backends"),
        ["ebpf", "sock_diag", "ss", "nettop", "estimate"]
    );
    assert_eq!(host["chosen"], "ebpf");

    let people = run(&["doctor"]);
    let people = text(&people.stdout);
    assert!(
        people.contains("--backend auto runs ebpf here."),
        "{people}"
    );
}

#[test]
fn every_backend_of_linux_can_be_forced_and_labels_its_rows() {
    // A thread of its own, whose namespace the listener and the command are in.
    let test = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (backend, label) in [
            ("ebpf", "ebpf"),
            ("sock_diag", "sock_diag"),
            ("ss", "ss"),
            ("estimate", "connection_share"),
        ] {
            let output = Command::new(COLLECTOR)
                .args(["watch", "--count", "1", "--backend", backend])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
            let mut rows = snapshot["connections"].as_array().unwrap().iter();
            let row = rows.find(|row| row["local_addr"] == *address);
            let row = row.unwrap_or_else(|| panic!("{backend} does not list the listener"));
            assert_eq!(row["source"], label);
            assert_eq!(row["state"], "LISTEN");
            assert_eq!(row["pid"], std::process::id());
        }
    });
    test.join().unwrap();
}
