//! The lists in the documentation are those of the code.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use netwatch_sdk::{
    Backend,
    event::{Change, ConnectionEvent, DnsEvent, DnsMessageKind, Event, Lost, Side, Topic},
    reading::{Attribution, Direction, Netns, Payload, Pid, ProcessId, Protocol, Rtt, SocketId},
    wire::{
        Accuracy, Alert, AlertCategory, AlertSeverity, ConnectionDetail, DiskIo, DiskUsage,
        DnsAnalytics, HealthMetric, HostInfo, IngestRequest, IngestResponse, InterfaceMetric,
        ProcessBandwidth, Snapshot, SnapshotResult, Source, SystemMetric,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What 0.4.1 wrote, every field set.
const PUBLISHED: &str = include_str!("fixtures/golden/ingest-request-0.4.1.json");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of a folder's entries without their extension.
fn stems(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Every page, with its path below the root.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let mut paths: Vec<PathBuf> = docs
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for page in ["README.md", "CHANGELOG.md"] {
        if root().join(page).is_file() {
            paths.push(page.into());
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), read(path)))
        .collect()
}

/// A row of a field table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// How the field shows that there is no value: `null`, `absent`, or it always has one.
    none: String,
    /// The version that brought it, when that is not 0.4.1.
    since: Option<String>,
}

/// The field tables of a page, by the type in the heading above.
fn field_tables(page: &str) -> BTreeMap<String, BTreeMap<String, Row>> {
    let mut tables: BTreeMap<String, BTreeMap<String, Row>> = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.trim_matches('`').to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", field, _, none, meaning, ""] = cells[..]
            && let Some(field) = field.strip_prefix('`')
        {
            let since = meaning
                .strip_prefix("since ")
                .and_then(|rest| rest.split_once(": "))
                .map(|(version, _)| version.to_owned());
            let row = Row {
                none: none.to_owned(),
                since,
            };
            let table = tables.entry(heading.clone()).or_default();
            table.insert(field.trim_end_matches('`').to_owned(), row);
        }
    }
    tables
}

/// The fields of a value with every one set, as the page has to show them.
fn fields<T: Serialize + DeserializeOwned>(
    full: &Value,
    published: &Value,
) -> BTreeMap<String, Row> {
    let full = full.as_object().unwrap();
    let written = |none: &str| {
        let mut value = full.clone();
        value.insert(none.to_owned(), Value::Null);
        let typed: T = serde_json::from_value(Value::Object(value)).ok()?;
        Some(serde_json::to_value(typed).unwrap())
    };
    let row = |name: &String| {
        let none = match written(name) {
            None => "–",
            Some(value) if value.get(name).is_some() => "`null`",
            Some(_) => "absent",
        };
        let since = published.get(name).is_none().then(|| "0.5.0".to_owned());
        Row {
            none: none.to_owned(),
            since,
        }
    };
    full.keys().map(|name| (name.clone(), row(name))).collect()
}

fn connection() -> ConnectionDetail {
    ConnectionDetail {
        protocol: "TCP".into(),
        local_addr: "192.0.2.10:5000".into(),
        remote_addr: "[2001:db8::1]:443".into(),
        state: "ESTABLISHED".into(),
        pid: Some(42),
        process_name: Some("curl".into()),
        kernel_rtt_us: Some(1.5),
        rx_bytes: Some(1),
        tx_bytes: Some(2),
        wire_rx_bytes: Some(3),
        wire_tx_bytes: Some(4),
        wire_rx_packets: Some(5),
        wire_tx_packets: Some(6),
        loopback_bytes: Some(7),
        rtt_var_us: Some(8.5),
        rtt_min_us: Some(9.5),
        retransmits: Some(10),
        direction: Some("outgoing".into()),
        uid: Some(11),
        cookie: Some(12),
        netns_cookie: Some(13),
        netns_inode: Some(14),
        cgroup_id: Some(15),
        closed: Some(true),
        source: Some(Source::Ebpf),
        accuracy: Some(Accuracy::Exact),
    }
}

fn process() -> ProcessBandwidth {
    ProcessBandwidth {
        process_name: "curl".into(),
        pid: Some(42),
        rx_bytes: 100,
        tx_bytes: 200,
        rx_rate: 10.0,
        tx_rate: 20.0,
        connection_count: 1,
        ppid: Some(1),
        user: Some("root".into()),
        cpu_pct: Some(0.5),
        mem_rss_bytes: Some(1024),
        mem_virt_bytes: Some(4096),
        state: Some("S".into()),
        started_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        cmd: Some("/usr/bin/curl".into()),
        wire_rx_bytes: Some(110),
        wire_tx_bytes: Some(220),
        cgroup: Some("/system.slice/cron.service".into()),
        container_id: Some("0123".into()),
        source: Some(Source::Ebpf),
        accuracy: Some(Accuracy::Exact),
    }
}

#[test]
fn the_field_tables_are_those_of_the_wire_types() {
    let request: Value = serde_json::from_str(PUBLISHED).unwrap();
    let snapshot = &request["snapshots"][0];
    let answer = IngestResponse {
        accepted: 1,
        rejected: 0,
        host_id: "00000000-0000-0000-0000-000000000000".parse().unwrap(),
        results: vec![SnapshotResult {
            index: 0,
            status: 202,
            message: "stored".into(),
        }],
    };
    let answer = serde_json::to_value(answer).unwrap();
    // These have exactly the published fields.
    let same = |value: &Value| (value.clone(), value.clone());
    let (ingest, ingest_published) = same(&request);
    macro_rules! table {
        ($type:ty, $full:expr, $published:expr) => {
            (
                stringify!($type).to_owned(),
                fields::<$type>($full, $published),
            )
        };
    }
    let part = |name: &str| &snapshot[name];
    let row = |name: &str| &snapshot[name][0];
    let expected = BTreeMap::from([
        table!(IngestRequest, &ingest, &ingest_published),
        table!(HostInfo, &request["host"], &request["host"]),
        table!(Snapshot, snapshot, snapshot),
        table!(InterfaceMetric, row("interfaces"), row("interfaces")),
        table!(HealthMetric, part("health"), part("health")),
        table!(SystemMetric, part("system"), part("system")),
        table!(DiskUsage, row("disk_usage"), row("disk_usage")),
        table!(DiskIo, part("disk_io"), part("disk_io")),
        table!(ProcessBandwidth, &json!(process()), row("processes")),
        table!(ConnectionDetail, &json!(connection()), row("connections")),
        table!(Alert, row("alerts"), row("alerts")),
        table!(DnsAnalytics, part("dns_analytics"), part("dns_analytics")),
        table!(IngestResponse, &answer, &answer),
        table!(SnapshotResult, &answer["results"][0], &answer["results"][0]),
    ]);
    let found = field_tables(&read("docs/wire-format.md"));
    for (name, table) in &expected {
        assert_eq!(found.get(name), Some(table), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "tables of no wire type");
}

#[test]
fn the_words_of_the_enums_are_in_the_wire_format() {
    use AlertCategory::{Bandwidth, Beaconing, DnsTunnel, PortScan};
    use Source::{ConnectionShare, Ebpf, Lsof, Nettop, SockDiag, Ss};
    let page = read("docs/wire-format.md");
    let words = json!([
        [Ebpf, SockDiag, Ss, Nettop, Lsof, ConnectionShare],
        [Accuracy::Exact, Accuracy::LowerBound, Accuracy::Estimate],
        [AlertSeverity::Warning, AlertSeverity::Critical],
        [PortScan, Beaconing, DnsTunnel, Bandwidth],
    ]);
    let words = words.as_array().unwrap().iter();
    for word in words.flat_map(|list| list.as_array().unwrap()) {
        let word = word.as_str().unwrap();
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

/// An event with every field set.
fn event() -> ConnectionEvent {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    ConnectionEvent {
        change: Change::Reset,
        time,
        id: SocketId(1),
        netns: Netns {
            cookie: Some(2),
            inode: 3,
        },
        protocol: Protocol::Tcp,
        local: "192.0.2.10:5000".parse().unwrap(),
        remote: "[2001:db8::1]:443".parse().unwrap(),
        direction: Some(Direction::Outgoing),
        process: Attribution::Process(ProcessId {
            pid: Pid(4),
            started: Some(Duration::from_secs(5)),
        }),
        process_name: "curl".into(),
        process_started_at: Some(time),
        uid: 6,
        cgroup_id: Some(7),
        cgroup: Some(format!("/system.slice/docker-{}.scope", "0".repeat(64))),
        age: Some(Duration::from_secs(8)),
        payload: Payload {
            rx_bytes: 9,
            tx_bytes: 10,
        },
        rtt: Some(Rtt {
            smoothed: Duration::from_micros(11),
            variation: Some(Duration::from_micros(12)),
            minimum: Some(Duration::from_micros(13)),
        }),
        retransmits: Some(14),
        errno: Some(104),
        reset_by: Some(Side::Remote),
    }
}

/// A DNS event with every field set.
fn dns_event() -> DnsEvent {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    DnsEvent {
        kind: DnsMessageKind::Answer,
        time,
        id: SocketId(1),
        local: "192.0.2.10:5000".parse().unwrap(),
        remote: "[2001:db8::1]:53".parse().unwrap(),
        process: event().process,
        process_name: "curl".into(),
        process_started_at: Some(time),
        forwards: false,
        transaction: Some(2),
        name: Some("example.com".into()),
        record_type: Some(28),
        opcode: Some(0),
        rcode: Some(3),
        latency: Some(Duration::from_micros(3)),
    }
}

/// The fields of a serialized value, with what is there when there is no value.
fn absent(full: &Value, bare: &Value) -> BTreeMap<String, &'static str> {
    let names = full.as_object().unwrap().keys();
    names
        .map(|name| {
            let is_there = bare.get(name).is_some();
            (name.clone(), if is_there { "–" } else { "absent" })
        })
        .collect()
}

/// The fields of the table below a heading, likewise.
fn fields_below<'a>(page: &'a str, heading: &str) -> BTreeMap<String, &'a str> {
    page.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", field, _, without, _, ""] = cells[..] else {
                return None;
            };
            Some((
                field.strip_prefix('`')?.strip_suffix('`')?.to_owned(),
                without,
            ))
        })
        .collect()
}

#[test]
fn the_fields_of_events_are_those_of_the_code() {
    let page = read("docs/events.md");
    let full = json!(event());
    let bare = json!(ConnectionEvent {
        netns: Netns {
            cookie: None,
            inode: 3
        },
        direction: None,
        process: Attribution::Unknown,
        process_started_at: None,
        cgroup_id: None,
        cgroup: None,
        age: None,
        rtt: None,
        retransmits: None,
        errno: None,
        reset_by: None,
        ..event()
    });
    assert_eq!(fields_below(&page, "## Fields"), absent(&full, &bare));
    let full = json!(dns_event());
    let bare = json!(DnsEvent {
        process: Attribution::Unknown,
        process_started_at: None,
        transaction: None,
        name: None,
        record_type: None,
        opcode: None,
        rcode: None,
        latency: None,
        ..dns_event()
    });
    let found = fields_below(&page, "## Fields of DNS messages");
    assert_eq!(found, absent(&full, &bare));
    let names: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(_, rest)| rest.matches('|').count() == 1)
        .map(|(name, _)| name)
        .collect();
    let changes = Change::ALL.iter().map(|(name, _)| *name);
    let messages = DnsMessageKind::ALL.iter().map(|(name, _)| *name);
    let known = changes.chain(messages).chain(["lost"]);
    assert_eq!(names, known.collect::<Vec<_>>());
    for (topic, _) in Topic::ALL {
        assert!(page.contains(&format!("`{topic}`")), "{topic}");
    }
    let time = event().time;
    let lost = json!(Event::Lost(Lost { time, events: 1 }));
    for field in lost.as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn every_collector_has_a_section_and_every_section_a_collector() {
    let modules: BTreeSet<String> = read("netwatch-sdk/src/collectors/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let sections: BTreeSet<String> = read("docs/collectors.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    assert_eq!(sections, modules);
}

#[test]
fn every_backend_is_in_platform_support() {
    let page = read("docs/platform-support.md");
    for (name, _) in Backend::ALL {
        assert!(page.contains(&format!("| `{name}`")), "{name}");
    }
}

#[test]
fn the_test_steps_are_those_of_the_task() {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--"])
        .args(["test", "--list"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let list = String::from_utf8(output.stdout).unwrap();
    let page = read("docs/testing.md");
    assert!(
        page.contains(&list),
        "docs/testing.md has another list than\n{list}"
    );
}

#[test]
fn every_fuzz_target_is_in_testing() {
    let page = read("docs/testing.md");
    for target in stems("netwatch-sdk/fuzz/fuzz_targets") {
        assert!(page.contains(&format!("`{target}`")), "{target}");
    }
}

#[test]
fn every_traffic_shape_is_in_accuracy() {
    let page = read("docs/accuracy.md");
    let folder = "netwatch-sdk/tests/live/shapes";
    // Those that pause, or that cross interfaces, have suites of their own.
    let apart = ["phased", "conserve", "impaired"];
    let mut shapes = 0;
    for file in stems(folder) {
        let text = read(format!("{folder}/{file}.rs"));
        let stems = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("stem: \"")?.strip_suffix("\","));
        for stem in stems.filter(|_| !apart.contains(&file.as_str())) {
            assert!(page.contains(&format!("(`{stem}`)")), "{stem}");
            shapes += 1;
        }
    }
    assert!(shapes > 50, "{shapes}");
}

#[test]
fn every_link_to_a_file_has_its_file() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let file = root().join(page.parent().unwrap()).join(target);
            assert!(file.exists(), "{}: no {target}", page.display());
        }
    }
}

#[test]
fn every_file_that_a_page_names_exists() {
    const TOP: [&str; 6] = [
        "netwatch-sdk/",
        "netwatch-ebpf/",
        "netwatch-common/",
        "xtask/",
        "docs/",
        ".ci/",
    ];
    for (page, text) in pages() {
        for quoted in text.split('`').skip(1).step_by(2) {
            // A pattern or a place to fill in is no file.
            let is_path = TOP.iter().any(|top| quoted.starts_with(top))
                && !quoted.contains(|c: char| {
                    c.is_whitespace() || "*{}<>".contains(c) || c.is_uppercase()
                });
            assert!(
                !is_path || root().join(quoted).exists(),
                "{}: no {quoted}",
                page.display()
            );
        }
    }
}

#[test]
fn no_page_names_a_folder_of_somebodys_machine() {
    for (page, text) in pages() {
        for folder in ["/work", "/root", "/home", "/Users"] {
            let named = text.match_indices(folder).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + folder.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '_')
                    && !after.is_some_and(char::is_alphanumeric)
            });
            assert!(!named, "{}: {folder}", page.display());
        }
    }
}
