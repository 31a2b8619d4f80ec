//! The agents of `examples/`, run as programs, against traffic of known bytes that this
//! process moves over loopback.
//!
//! They run as the user of the test. Where that user may load kernel programs the bytes
//! have to be exact; elsewhere each figure has to say that it is less, and be less.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is a failure of its test"
)]
#![cfg(target_os = "linux")]
#![cfg(test)]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use netwatch_sdk::types::{IngestRequest, Snapshot};
use serde_json::Value;

/// What the client of a connection sends, and what it gets back.
const SENT: u64 = 1_234_567;
const ANSWERED: u64 = 76_543;
/// The same on a connection that is over before anybody looks.
const BRIEFLY_SENT: u64 = 4_321;
const BRIEFLY_ANSWERED: u64 = 321;
/// Both ends are this process.
const MOVED: u64 = SENT + ANSWERED + BRIEFLY_SENT + BRIEFLY_ANSWERED;

/// All tests are one process, whose bytes each of them counts.
static TRAFFIC: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    TRAFFIC.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An example, where cargo builds it before it runs the tests.
fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let profile: PathBuf = test.ancestors().nth(2).unwrap().into();
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --examples` first",
        path.display()
    );
    let mut command = Command::new(path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Kills the agent of a test that failed.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn send(mut from: &TcpStream, mut to: &TcpStream, bytes: u64) {
    let bytes = usize::try_from(bytes).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || from.write_all(&vec![7; bytes]).unwrap());
        to.read_exact(&mut vec![0; bytes]).unwrap();
    });
}

/// Moves [`MOVED`] bytes each way; the connection that is still open.
fn traffic() -> (TcpStream, TcpStream) {
    let (client, server) = pair();
    send(&client, &server, SENT);
    send(&server, &client, ANSWERED);
    let (briefly, peer) = pair();
    send(&briefly, &peer, BRIEFLY_SENT);
    send(&peer, &briefly, BRIEFLY_ANSWERED);
    (client, server)
}

fn rows<'a>(snapshot: &'a Value, part: &str) -> &'a [Value] {
    let rows = snapshot[part].as_array();
    rows.unwrap_or_else(|| panic!("no {part} in {snapshot:#}"))
}

fn number(row: &Value, field: &str) -> u64 {
    row[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} is no number in {row:#}"))
}

fn mine(snapshot: &Value) -> Option<&Value> {
    let id = u64::from(process::id());
    rows(snapshot, "processes")
        .iter()
        .find(|row| row["pid"].as_u64() == Some(id))
}

/// Each field of `object`, in order, with a letter for its type.
fn shape(object: &Value) -> String {
    let letter = |value: &Value| match value {
        Value::Null => '-',
        Value::Bool(_) => 'b',
        Value::Number(number) if number.is_f64() => 'f',
        Value::Number(_) => 'n',
        Value::String(_) => 's',
        Value::Array(_) => 'a',
        Value::Object(_) => 'o',
    };
    let fields = object
        .as_object()
        .unwrap_or_else(|| panic!("no object: {object:#}"));
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}:{}", letter(value)));
    fields.collect::<Vec<_>>().join(" ")
}

/// Every field named in `expected` is there with one of the types that follow its name.
#[track_caller]
fn has_fields(object: &Value, expected: &[(&str, &str)]) {
    let shape = shape(object);
    for (name, types) in expected {
        let found = shape
            .split(' ')
            .find_map(|field| field.strip_prefix(&format!("{name}:")));
        assert!(
            found.is_some_and(|found| types.contains(found)),
            "{name} should be one of {types:?} in {shape}"
        );
    }
}

fn check_shape(snapshot: &Value) {
    has_fields(
        snapshot,
        &[
            ("timestamp", "s"),
            ("interfaces", "a"),
            ("health", "o-"),
            ("connection_count", "n"),
            ("system", "o-"),
            ("disk_usage", "a-"),
            ("disk_io", "o-"),
            ("tcp_time_wait", "n-"),
            ("tcp_close_wait", "n"),
            ("processes", "a"),
            ("connections", "a"),
        ],
    );
    for row in rows(snapshot, "interfaces") {
        let counters = [
            "rx_bytes",
            "tx_bytes",
            "rx_bytes_delta",
            "tx_bytes_delta",
            "rx_packets",
            "tx_packets",
            "rx_errors",
            "tx_errors",
            "rx_drops",
            "tx_drops",
        ];
        has_fields(row, &[("name", "s"), ("is_up", "b")]);
        has_fields(row, &counters.map(|name| (name, "n")));
    }
    for row in rows(snapshot, "processes") {
        has_fields(
            row,
            &[
                ("process_name", "s"),
                ("pid", "n-"),
                ("rx_bytes", "n"),
                ("tx_bytes", "n"),
                ("rx_rate", "f"),
                ("tx_rate", "f"),
                ("connection_count", "n"),
                ("source", "s"),
                ("accuracy", "s"),
            ],
        );
    }
    for row in rows(snapshot, "connections") {
        has_fields(
            row,
            &[
                ("protocol", "s"),
                ("local_addr", "s"),
                ("remote_addr", "s"),
                ("state", "s"),
                ("pid", "n-"),
                ("process_name", "s-"),
                ("source", "s"),
                ("accuracy", "s"),
            ],
        );
    }
}

/// `found` is `expected` where kernel programs count, and says that it is less elsewhere.
#[track_caller]
fn check_bytes(row: &Value, field: &str, found: u64, expected: u64) {
    if row["source"] == "ebpf" {
        assert_eq!(row["accuracy"], "exact", "{row:#}");
        assert_eq!(found, expected, "{field} of {row:#}");
    } else {
        eprintln!(
            "{field} by {}: {found} of {expected}, {}",
            row["source"], row["accuracy"]
        );
        assert!(
            found == expected || (found < expected && row["accuracy"] != "exact"),
            "{field}: {found} of {expected} in {row:#}"
        );
    }
}

/// The row of one end of a connection of this process.
#[track_caller]
fn check_connection(snapshot: &Value, end: &TcpStream, rx: u64, tx: u64) {
    let text = |address: std::io::Result<SocketAddr>| address.unwrap().to_string();
    let (local, remote) = (text(end.local_addr()), text(end.peer_addr()));
    let row = rows(snapshot, "connections")
        .iter()
        .find(|row| row["local_addr"] == local && row["remote_addr"] == remote)
        .unwrap_or_else(|| panic!("no {local} to {remote}"));
    assert_eq!(row["protocol"], "TCP");
    assert_eq!(row["state"], "ESTABLISHED");
    assert_eq!(number(row, "pid"), u64::from(process::id()));
    assert!(
        row["kernel_rtt_us"].as_f64().is_some_and(|rtt| rtt > 0.0),
        "{row:#}"
    );
    check_bytes(row, "rx_bytes", number(row, "rx_bytes"), rx);
    check_bytes(row, "tx_bytes", number(row, "tx_bytes"), tx);
}

#[test]
fn the_published_agent_reports_the_bytes_of_this_process() {
    let _alone = alone();
    let mut agent = Agent(example("published_agent").arg("3").spawn().unwrap());
    let mut messages = BufReader::new(agent.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("first snapshot taken") {
        line.clear();
        assert!(
            messages.read_line(&mut line).unwrap() > 0,
            "the agent ended"
        );
    }
    let (client, server) = traffic();
    let mut text = String::new();
    let mut stdout = agent.0.stdout.take().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert!(agent.0.wait().unwrap().success());

    serde_json::from_str::<IngestRequest>(&text).unwrap();
    let request: Value = serde_json::from_str(&text).unwrap();
    has_fields(
        &request["host"],
        &[
            ("host_id", "s"),
            ("hostname", "s"),
            ("os", "s-"),
            ("kernel", "s-"),
            ("uptime_secs", "n-"),
            ("cpu_model", "s-"),
            ("cpu_cores", "n-"),
            ("memory_total_bytes", "n"),
        ],
    );
    let [first, second] = rows(&request, "snapshots") else {
        panic!("not two snapshots");
    };
    for snapshot in [first, second] {
        check_shape(snapshot);
    }
    for row in rows(first, "processes") {
        assert_eq!((number(row, "rx_bytes"), number(row, "tx_bytes")), (0, 0));
    }

    let row = mine(second).expect("this process has no row");
    check_bytes(row, "rx_bytes", number(row, "rx_bytes"), MOVED);
    check_bytes(row, "tx_bytes", number(row, "tx_bytes"), MOVED);
    let own_path = env::current_exe().unwrap();
    assert_eq!(row["cmd"], own_path.to_str().unwrap());
    assert!(row["rx_rate"].as_f64().is_some_and(|rate| rate > 0.0));
    check_connection(second, &client, ANSWERED, SENT);
    check_connection(second, &server, SENT, ANSWERED);
    assert!(number(second, "connection_count") >= 2);
    let lo = rows(second, "interfaces")
        .iter()
        .find(|row| row["name"] == "lo")
        .expect("no lo");
    assert!(number(lo, "rx_bytes_delta") > MOVED);
    assert!(rows(second, "processes").len() <= 50);
}

#[test]
fn the_typed_agents_snapshots_add_up_to_the_bytes_of_this_process() {
    let _alone = alone();
    let mut agent = Agent(example("typed_agent").args(["3", "700"]).spawn().unwrap());
    let mut lines = BufReader::new(agent.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("the agent ended").unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let status = next();
    has_fields(
        &status,
        &[
            ("source", "s"),
            ("hook", "s-"),
            ("refused", "a"),
            ("limits", "a"),
            ("maps", "a"),
            ("lost", "o"),
            ("start_cost_us", "n"),
        ],
    );
    let (client, server) = traffic();
    let snapshots = [next(), next(), next()];
    drop((client, server));

    let (mut rx, mut tx, mut last) = (0, 0, None);
    for snapshot in &snapshots {
        check_shape(snapshot);
        serde_json::from_value::<Snapshot>(snapshot.clone()).unwrap();
        if let Some(row) = mine(snapshot) {
            assert_eq!(row["source"], status["source"]);
            rx += number(row, "rx_bytes");
            tx += number(row, "tx_bytes");
            last = Some(row);
        }
    }
    let last = last.expect("this process has no row");
    check_bytes(last, "rx_bytes", rx, MOVED);
    check_bytes(last, "tx_bytes", tx, MOVED);
    let mut said = String::new();
    agent
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(agent.0.wait().unwrap().success(), "{said}");
    assert!(said.contains(" moved most: "), "{said}");
}
