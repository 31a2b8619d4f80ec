use std::sync::{Arc, Mutex};

use super::*;
use crate::reading::Payload;

/// Answers each run with the next text; the last one for ever.
fn replay(answers: &[&str]) -> RunSs {
    let answers: Vec<String> = answers.iter().rev().map(|&it| it.to_owned()).collect();
    let answers = Mutex::new(answers);
    Box::new(move |_| {
        let mut answers = answers.lock().unwrap();
        let answer = match answers.as_slice() {
            [last] => last.clone(),
            _ => answers.pop().unwrap(),
        };
        Ok(Ran {
            success: true,
            stdout: answer.into_bytes(),
            stderr: Vec::new(),
        })
    })
}

/// No process has this pid: the largest is 4,194,304.
const GONE: u32 = 5_000_000;

fn row(received: u64, sent: u64, users: &str) -> String {
    format!(
        "tcp ESTAB 0 0 10.0.0.1:443 10.0.0.2:50000 {users}ino:9 sk:1f <-> cubic rto:204 \
         rtt:1.25/0.5 cwnd:10 bytes_sent:{sent} bytes_acked:{sent} bytes_received:{received} \
         minrtt:0.9\n"
    )
}

fn held(received: u64, sent: u64) -> String {
    row(
        received,
        sent,
        &format!("users:((\"web\",pid={GONE},fd=3)) "),
    )
}

fn total(reading: &Reading, pid: u32) -> Payload {
    let of = |id: Attribution| matches!(id, Attribution::Process(id) if id.pid == Pid(pid));
    let row = reading.processes.iter().find(|row| of(row.id));
    row.unwrap_or_else(|| panic!("{:#?}", reading.processes))
        .payload
}

fn payload(rx_bytes: u64, tx_bytes: u64) -> Payload {
    Payload { rx_bytes, tx_bytes }
}

#[test]
fn a_process_is_credited_with_what_moved_since_the_start() {
    let mut ss = Ss::start(replay(&[&held(100, 10), &held(150, 30)])).unwrap();
    let reading = ss.read().unwrap();
    assert_eq!(total(&reading, GONE), payload(50, 20));
    let [socket] = reading.open.as_slice() else {
        panic!("{:#?}", reading.open);
    };
    assert_eq!(socket.id, SocketId(0x1f));
    assert_eq!(socket.payload, Some(payload(150, 30)));
    assert_eq!(socket.owner_name.as_deref(), Some("web"));
    assert_eq!(socket.accuracy, Accuracy::Exact);
}

#[test]
fn a_new_socket_counts_from_its_first_byte() {
    let mut ss = Ss::start(replay(&["", &held(150, 30)])).unwrap();
    assert_eq!(total(&ss.read().unwrap(), GONE), payload(150, 30));
}

#[test]
fn all_holders_of_a_shared_socket_are_marked_and_its_bytes_count_once() {
    let users = format!(
        "users:((\"a\",pid={GONE},fd=3),(\"b\",pid={},fd=3)) ",
        GONE + 1
    );
    let mut ss = Ss::start(replay(&["", &row(150, 30, &users)])).unwrap();
    let reading = ss.read().unwrap();
    assert!(reading.open[0].shared);
    assert_eq!(total(&reading, GONE), payload(150, 30));
    assert_eq!(reading.processes[0].accuracy, Accuracy::Estimate);
}

#[test]
fn bytes_of_nobody_visible_belong_to_somebody_unknown() {
    let mut ss = Ss::start(replay(&["", &row(150, 30, "")])).unwrap();
    let reading = ss.read().unwrap();
    assert_eq!(reading.processes[0].id, Attribution::Unknown);
    assert_eq!(reading.processes[0].payload, payload(150, 30));
    assert_eq!(
        reading.lost.unattributed_rx_bytes + reading.lost.unattributed_tx_bytes,
        180
    );
}

#[test]
fn a_socket_that_vanishes_is_reported_closed_with_its_last_figures_as_a_lower_bound() {
    let mut ss = Ss::start(replay(&[&held(100, 10), &held(150, 30), ""])).unwrap();
    ss.read().unwrap();
    assert!(ss.read().unwrap().closed.is_empty());
    let reading = ss.read().unwrap();
    assert_eq!(reading.closed[0].payload, Some(payload(150, 30)));
    assert_eq!(reading.closed[0].accuracy, Accuracy::LowerBound);
    assert_eq!(total(&reading, GONE), payload(50, 20));
    assert!(ss.read().unwrap().closed.is_empty());
}

#[test]
fn a_socket_below_multipath_tcp_or_tls_stays_an_estimate_to_its_end_and_beyond() {
    for ulp in [
        "tcp-ulp-mptcp flags:Mec",
        "tcp-ulp-tls rxconf: none txconf: sw",
    ] {
        stays_an_estimate(ulp);
    }
}

fn stays_an_estimate(ulp: &str) {
    let plain = held(150, 30);
    let below = plain.replace(" cubic", &format!(" {ulp} cubic"));
    let mut ss = Ss::start(replay(&["", &below, &plain, ""])).unwrap();
    for _ in 0..2 {
        assert_eq!(ss.read().unwrap().open[0].accuracy, Accuracy::Estimate);
    }
    ss.read().unwrap();
    let closed = ss.read().unwrap().closed;
    assert_eq!(closed[0].accuracy, Accuracy::Estimate);
    assert_eq!(closed[0].payload, Some(payload(150, 30)));
}

#[test]
fn a_socket_that_one_list_misses_does_not_count_again() {
    let mut ss = Ss::start(replay(&[&held(100, 10), "", &held(150, 30)])).unwrap();
    ss.read().unwrap();
    assert_eq!(total(&ss.read().unwrap(), GONE), payload(50, 20));
}

#[test]
fn before_iproute2_5_acknowledged_bytes_less_the_syn_count() {
    let old = |acked: u64| {
        format!(
            "tcp ESTAB 0 0 10.0.0.1:50000 10.0.0.2:443 users:((\"web\",pid={GONE},fd=3))\n\
             \t cubic rto:204 cwnd:10 bytes_acked:{acked} bytes_received:5\n"
        )
    };
    let mut ss = Ss::start(replay(&["", &old(101)])).unwrap();
    let reading = ss.read().unwrap();
    assert_eq!(total(&reading, GONE), payload(5, 100));
    assert_eq!(reading.open[0].accuracy, Accuracy::LowerBound);
    assert!(ss.limits().iter().any(|it| it.contains("acknowledged")));
}

#[test]
fn older_arguments_are_used_where_newer_ones_are_refused_and_remembered() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let run: RunSs = Box::new({
        let seen = seen.clone();
        move |arguments| {
            seen.lock().unwrap().push(arguments.join(" "));
            let new = arguments.iter().any(|it| it.contains('O'));
            Ok(Ran {
                success: !new,
                stdout: Vec::new(),
                stderr: b"ss: invalid option -- 'O'\nUsage: ss".to_vec(),
            })
        }
    });
    let mut ss = Ss::start(run).unwrap();
    ss.read().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, ["-tunapieOH", "-tunapie", "-tunapie"]);
}

#[test]
fn a_tool_that_refuses_everything_or_prints_garbage_is_an_error_and_not_an_empty_list() {
    let refuse: RunSs = Box::new(|_| {
        Ok(Ran {
            success: false,
            stdout: Vec::new(),
            stderr: b"ss: no\n".to_vec(),
        })
    });
    let error = Ss::start(refuse).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("ss: no"), "{error}");
    let error = Ss::start(replay(&["Segmentation fault\n"])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn a_tool_that_is_missing_is_its_own_error() {
    let absent: RunSs = Box::new(|_| Err(Error::new(ErrorKind::Missing, "no program ss")));
    let error = Ss::start(absent).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Missing);
}
