//! The JSON contract with `netwatch-sdk` 0.4.1, which agents and servers in the field
//! run: what that crate writes is read here, and what is written here is read there,
//! field for field.
//!
//! Builds with `--no-default-features`.

#![cfg(test)]

use chrono::{DateTime, Utc};
use netwatch_sdk::{
    types::IngestRequest,
    wire::{
        Accuracy, Alert, AlertCategory, AlertSeverity, ConnectionDetail, ProcessBandwidth, Source,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// What 0.4.1 wrote for a snapshot with every field set and one with none.
const PUBLISHED: &str = include_str!("fixtures/golden/ingest-request-0.4.1.json");

fn published() -> Value {
    serde_json::from_str(PUBLISHED).unwrap()
}

fn reread<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(typed).unwrap()
}

/// The types of 0.4.1 whose counterparts here have grown fields: its fields, attributes
/// and nothing else.
mod mirror {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct ConnectionDetail {
        pub(crate) protocol: String,
        pub(crate) local_addr: String,
        pub(crate) remote_addr: String,
        pub(crate) state: String,
        pub(crate) pid: Option<u32>,
        pub(crate) process_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) kernel_rtt_us: Option<f64>,
        #[serde(skip)]
        pub(crate) rx_bytes: Option<u64>,
        #[serde(skip)]
        pub(crate) tx_bytes: Option<u64>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct ProcessBandwidth {
        pub(crate) process_name: String,
        pub(crate) pid: Option<u32>,
        pub(crate) rx_bytes: u64,
        pub(crate) tx_bytes: u64,
        pub(crate) rx_rate: f64,
        pub(crate) tx_rate: f64,
        pub(crate) connection_count: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) ppid: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) user: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) cpu_pct: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) mem_rss_bytes: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) mem_virt_bytes: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) state: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) started_at: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(crate) cmd: Option<String>,
    }
}

/// With every field set.
fn connection() -> ConnectionDetail {
    ConnectionDetail {
        protocol: "TCP".into(),
        local_addr: "192.0.2.10:5000".into(),
        remote_addr: "[2001:db8::1]:443".into(),
        state: "ESTABLISHED".into(),
        pid: Some(42),
        process_name: Some("curl".into()),
        kernel_rtt_us: Some(1234.5),
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
        source: Some(Source::SockDiag),
        accuracy: Some(Accuracy::LowerBound),
    }
}

fn moment() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// With every field set.
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
        started_at: Some(moment()),
        cmd: Some("/usr/bin/curl".into()),
        wire_rx_bytes: Some(110),
        wire_tx_bytes: Some(220),
        cgroup: Some("/system.slice/cron.service".into()),
        container_id: Some("0123".into()),
        source: Some(Source::Ebpf),
        accuracy: Some(Accuracy::Exact),
    }
}

/// `value` with only the fields that `of` has.
fn only_fields(value: &Value, of: &Value) -> Value {
    let keep = of.as_object().unwrap();
    let fields = value.as_object().unwrap().iter();
    let kept: Map<_, _> = fields
        .filter(|(name, _)| keep.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Value::Object(kept)
}

#[test]
fn what_the_published_crate_writes_is_read_and_written_again_unchanged() {
    assert_eq!(reread::<IngestRequest>(&published()), published());
}

#[test]
fn fields_stay_in_the_published_order() {
    let request: IngestRequest = serde_json::from_str(PUBLISHED).unwrap();
    let written = serde_json::to_string_pretty(&request).unwrap();
    assert_eq!(written, PUBLISHED.trim_end());
}

#[test]
fn the_published_crate_reads_every_field_it_knows_of_rows_with_new_ones() {
    let connection = serde_json::to_value(connection()).unwrap();
    let there: mirror::ConnectionDetail = serde_json::from_value(connection.clone()).unwrap();
    let there = serde_json::to_value(there).unwrap();
    assert_eq!(there, only_fields(&connection, &there));
    assert_eq!(there, published()["snapshots"][0]["connections"][0]);

    let process = serde_json::to_value(process()).unwrap();
    let there: mirror::ProcessBandwidth = serde_json::from_value(process.clone()).unwrap();
    let there = serde_json::to_value(there).unwrap();
    assert_eq!(there, only_fields(&process, &there));
    assert_eq!(there, published()["snapshots"][0]["processes"][0]);
}

#[test]
fn every_field_survives_writing_and_reading() {
    let written = serde_json::to_value(connection()).unwrap();
    assert_eq!(
        serde_json::from_value::<ConnectionDetail>(written).unwrap(),
        connection()
    );
    let written = serde_json::to_value(process()).unwrap();
    assert_eq!(
        serde_json::from_value::<ProcessBandwidth>(written).unwrap(),
        process()
    );
}

#[test]
fn new_fields_are_absent_when_there_is_nothing_to_say() {
    let fields =
        |value: Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let bare = serde_json::to_value(ConnectionDetail::default()).unwrap();
    let mut found = fields(bare);
    found.sort();
    let mut expected = [
        "protocol",
        "local_addr",
        "remote_addr",
        "state",
        "pid",
        "process_name",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);

    let bare = ProcessBandwidth::network_only("sshd".into(), None, 1, 2, 0.0, 0.0, 0);
    let bare = serde_json::to_value(bare).unwrap();
    assert_eq!(bare, published()["snapshots"][0]["processes"][1]);
}

#[test]
fn fields_nobody_knows_are_ignored_wherever_they_are() {
    fn sprinkle(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(sprinkle);
                fields.insert("of_the_future".into(), json!({"any": ["thing"]}));
            }
            Value::Array(rows) => rows.iter_mut().for_each(sprinkle),
            _ => {}
        }
    }
    let mut newer = published();
    sprinkle(&mut newer);
    assert_eq!(reread::<IngestRequest>(&newer), published());
}

#[test]
fn enums_are_snake_case() {
    let written = |value: Value| value.as_str().unwrap().to_owned();
    let sources = [
        (Source::Ebpf, "ebpf"),
        (Source::SockDiag, "sock_diag"),
        (Source::Ss, "ss"),
        (Source::Nettop, "nettop"),
        (Source::Lsof, "lsof"),
        (Source::ConnectionShare, "connection_share"),
    ];
    for (source, name) in sources {
        assert_eq!(written(json!(source)), name);
    }
    let accuracies = [
        (Accuracy::Estimate, "estimate"),
        (Accuracy::LowerBound, "lower_bound"),
        (Accuracy::Exact, "exact"),
    ];
    for (accuracy, name) in accuracies {
        assert_eq!(written(json!(accuracy)), name);
    }
    let alert = |severity, category| Alert {
        severity,
        category,
        message: "m".into(),
        detail: "d".into(),
        timestamp: moment(),
    };
    let alerts = [
        alert(AlertSeverity::Warning, AlertCategory::PortScan),
        alert(AlertSeverity::Critical, AlertCategory::Beaconing),
        alert(AlertSeverity::Critical, AlertCategory::DnsTunnel),
        alert(AlertSeverity::Warning, AlertCategory::Bandwidth),
    ];
    assert_eq!(json!(alerts), published()["snapshots"][0]["alerts"]);
}
