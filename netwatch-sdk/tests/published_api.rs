//! A program that uses every path, signature, field and derive that `netwatch-sdk` 0.4.1
//! published. That it compiles is most of the test; it compiles and passes against that
//! crate too.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a panic is a failure of its test")]

use std::{
    collections::{HashMap, VecDeque},
    fmt::{Debug, Display},
};

use chrono::{DateTime, Utc};
use netwatch_sdk::{
    collectors::{
        config, connections, disk, health, network_intel, proc_meta, process_bandwidth, system,
        traffic,
    },
    platform, types,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// What every wire type derives.
fn is_wire<T: Debug + Clone + Serialize + DeserializeOwned>() {}
/// What most readings derive.
fn is_reading<T: Debug + Clone>() {}
fn is_debug<T: Debug>() {}
fn is_plain_enum<T: Debug + Clone + Copy + PartialEq + Eq + Serialize + DeserializeOwned>() {}
fn can_be_shared<T: Send + Sync + 'static>() {}
fn is_default<T: Default>() {}

fn moment() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn interface() -> types::InterfaceMetric {
    types::InterfaceMetric {
        name: "eth0".into(),
        is_up: true,
        rx_bytes: 1_u64,
        tx_bytes: 2_u64,
        rx_bytes_delta: 3_u64,
        tx_bytes_delta: 4_u64,
        rx_packets: 5_u64,
        tx_packets: 6_u64,
        rx_errors: 7_u64,
        tx_errors: 8_u64,
        rx_drops: 9_u64,
        tx_drops: 10_u64,
        rx_rate: Some(11.0_f64),
        tx_rate: Some(12.0_f64),
        rx_history: Some(vec![13_u64]),
        tx_history: Some(vec![14_u64]),
    }
}

fn snapshot() -> types::Snapshot {
    types::Snapshot {
        timestamp: moment(),
        interfaces: vec![interface()],
        health: Some(types::HealthMetric {
            gateway_ip: Some(String::new()),
            gateway_rtt_ms: Some(1.0_f64),
            gateway_loss_pct: Some(0.0_f64),
            dns_ip: Some(String::new()),
            dns_rtt_ms: Some(1.0_f64),
            dns_loss_pct: Some(0.0_f64),
            gateway_rtt_history: Some(vec![Some(1.0_f64), None]),
            dns_rtt_history: Some(vec![Some(1.0_f64), None]),
        }),
        connection_count: Some(1_u32),
        system: Some(types::SystemMetric {
            cpu_usage_pct: Some(1.0_f64),
            memory_total_bytes: Some(1_u64),
            memory_used_bytes: Some(1_u64),
            memory_available_bytes: Some(1_u64),
            load_avg_1m: Some(1.0_f64),
            load_avg_5m: Some(1.0_f64),
            load_avg_15m: Some(1.0_f64),
            swap_total_bytes: Some(1_u64),
            swap_used_bytes: Some(1_u64),
            cpu_per_core: Some(vec![1.0_f64]),
        }),
        disk_usage: Some(Vec::<disk::DiskUsage>::new()),
        disk_io: None::<disk::DiskIo>,
        tcp_time_wait: Some(1_u32),
        tcp_close_wait: Some(1_u32),
        processes: Some(Vec::<process_bandwidth::ProcessBandwidth>::new()),
        connections: Some(Vec::<connections::ConnectionDetail>::new()),
        alerts: Some(Vec::<network_intel::Alert>::new()),
        dns_analytics: None::<network_intel::DnsAnalytics>,
    }
}

#[test]
fn wire_types_are_built_read_and_matched_as_published() {
    is_wire::<types::IngestRequest>();
    is_wire::<types::HostInfo>();
    is_wire::<types::Snapshot>();
    is_wire::<types::InterfaceMetric>();
    is_wire::<types::HealthMetric>();
    is_wire::<types::SystemMetric>();
    is_wire::<types::IngestResponse>();
    is_wire::<types::SnapshotResult>();
    let request = types::IngestRequest {
        agent_version: "0.5.0".into(),
        host: types::HostInfo {
            host_id: Uuid::nil(),
            hostname: "h".into(),
            os: Some(String::new()),
            kernel: Some(String::new()),
            uptime_secs: Some(1_u64),
            cpu_model: Some(String::new()),
            cpu_cores: Some(1_u32),
            memory_total_bytes: Some(1_u64),
        },
        snapshots: vec![snapshot()],
    };
    let text = serde_json::to_string(&request).unwrap();
    let again: types::IngestRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(again.snapshots[0].interfaces[0].rx_bytes_delta, 3);

    let answer = r#"{"accepted":1,"rejected":0,"host_id":"00000000-0000-0000-0000-000000000000",
        "results":[{"index":0,"status":202,"message":"stored"}]}"#;
    let types::IngestResponse {
        accepted,
        rejected,
        host_id,
        results,
    } = serde_json::from_str(answer).unwrap();
    let types::SnapshotResult {
        index,
        status,
        message,
    } = &results[0];
    let counts: (u32, u32, Uuid) = (accepted, rejected, host_id);
    assert_eq!(counts, (1, 0, Uuid::nil()));
    let result: (usize, u16, &str) = (*index, *status, message);
    assert_eq!(result, (0, 202, "stored"));
}

#[test]
fn traffic_is_as_published() {
    const LENGTH: usize = traffic::RATE_HISTORY_LEN;
    assert_eq!(LENGTH, 60);
    is_default::<traffic::InterfaceRateTracker>();
    can_be_shared::<traffic::InterfaceRateTracker>();
    let mut tracker = traffic::InterfaceRateTracker::new();
    let stats = HashMap::from([("eth0".to_owned(), interface_stats())]);
    let metrics: Vec<types::InterfaceMetric> = tracker.sample(&stats);
    assert_eq!((metrics[0].rx_bytes, metrics[0].rx_bytes_delta), (1, 0));
    match traffic::sample(&mut tracker) {
        Ok(metrics) => drop::<Vec<types::InterfaceMetric>>(metrics),
        Err(error) => eprintln!("{error}"),
    }
}

fn interface_stats() -> platform::InterfaceStats {
    is_reading::<platform::InterfaceStats>();
    platform::InterfaceStats {
        name: "eth0".into(),
        rx_bytes: 1_u64,
        tx_bytes: 2_u64,
        rx_packets: 3_u64,
        tx_packets: 4_u64,
        rx_errors: 5_u64,
        tx_errors: 6_u64,
        rx_drops: 7_u64,
        tx_drops: 8_u64,
        is_up: true,
    }
}

#[test]
fn interface_counters_are_as_published() {
    fn message(error: impl Display + Debug + Send + Sync + 'static) -> String {
        error.to_string()
    }
    let stats: Result<HashMap<String, platform::InterfaceStats>, String> =
        platform::collect_interface_stats().map_err(message);
    if cfg!(target_os = "linux") {
        assert!(stats.is_ok());
    }
}

fn connection() -> connections::ConnectionDetail {
    let text = r#"{"protocol":"TCP","local_addr":"192.0.2.1:1","remote_addr":"192.0.2.2:2",
        "state":"ESTABLISHED","pid":7,"process_name":"p"}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn connections_are_as_published() {
    is_wire::<connections::ConnectionDetail>();
    is_reading::<connections::TcpStates>();
    let count: fn() -> u32 = connections::count_established_connections;
    let states: fn() -> connections::TcpStates = connections::collect_tcp_states;
    let collect: fn() -> Vec<connections::ConnectionDetail> = connections::collect_connections;
    let top: fn(Vec<connections::ConnectionDetail>, usize) -> Vec<connections::ConnectionDetail> =
        connections::top_connections;
    let connections::TcpStates {
        established,
        time_wait,
        close_wait,
    } = states();
    let _: [u32; 4] = [count(), established, time_wait, close_wait];
    drop(collect());
    let mut row = connection();
    row.kernel_rtt_us = Some(1.5_f64);
    row.rx_bytes = Some(1_u64);
    row.tx_bytes = Some(2_u64);
    let first = top(vec![row], 1).remove(0);
    let texts: [String; 4] = [
        first.protocol,
        first.local_addr,
        first.remote_addr,
        first.state,
    ];
    assert_eq!(texts[3], "ESTABLISHED");
    let owner: (Option<u32>, Option<String>) = (first.pid, first.process_name);
    assert_eq!(owner, (Some(7), Some("p".into())));
    let figures: (Option<f64>, Option<u64>, Option<u64>) =
        (first.kernel_rtt_us, first.rx_bytes, first.tx_bytes);
    assert_eq!(figures, (Some(1.5), Some(1), Some(2)));
}

#[test]
fn process_bandwidth_is_as_published() {
    use process_bandwidth::{ProcessBandwidth, ProcessBandwidthTracker, attribute};

    is_wire::<ProcessBandwidth>();
    is_default::<ProcessBandwidthTracker>();
    can_be_shared::<ProcessBandwidthTracker>();
    let mut row = ProcessBandwidth::network_only(
        "p".to_owned(),
        Some(7_u32),
        1_u64,
        2_u64,
        3.0_f64,
        4.0_f64,
        5_u32,
    );
    row.ppid = Some(1_u32);
    row.user = Some("root".to_owned());
    row.cpu_pct = Some(1.0_f64);
    row.mem_rss_bytes = Some(1_u64);
    row.mem_virt_bytes = Some(1_u64);
    row.state = Some("S".to_owned());
    row.started_at = Some(moment());
    row.cmd = Some("/bin/p".to_owned());
    let figures: (&String, Option<u32>, u64, u64, f64, f64, u32) = (
        &row.process_name,
        row.pid,
        row.rx_bytes,
        row.tx_bytes,
        row.rx_rate,
        row.tx_rate,
        row.connection_count,
    );
    assert_eq!(figures, (&"p".to_owned(), Some(7), 1, 2, 3.0, 4.0, 5));

    let estimate: fn(
        &[connections::ConnectionDetail],
        &[types::InterfaceMetric],
        usize,
    ) -> Vec<ProcessBandwidth> = attribute;
    assert_eq!(
        estimate(&[connection()], &[interface()], 10)[0].pid,
        Some(7)
    );
    let mut tracker = ProcessBandwidthTracker::new();
    let rows: Vec<ProcessBandwidth> = tracker.sample(&[connection()], 10);
    assert_eq!((rows[0].pid, rows[0].rx_bytes), (Some(7), 0));
}

#[test]
fn process_metadata_is_as_published() {
    is_reading::<proc_meta::ProcMeta>();
    let sample: fn() -> Option<HashMap<u32, proc_meta::ProcMeta>> = proc_meta::sample;
    let mut metas = sample().unwrap_or_default();
    metas.insert(
        7,
        proc_meta::ProcMeta {
            cpu_percent: 1.0_f64,
            ppid: Some(1_u32),
            user: Some("root".into()),
            mem_rss_bytes: Some(1_u64),
            mem_virt_bytes: Some(1_u64),
            state: Some("S".into()),
            started_at: Some(moment()),
            cmd: Some("/bin/p".into()),
        },
    );
    let row =
        process_bandwidth::ProcessBandwidth::network_only("p".into(), Some(7), 0, 0, 0.0, 0.0, 0);
    let mut rows = [row];
    proc_meta::apply(&mut rows, &metas);
    assert_eq!(rows[0].cmd.as_deref(), Some("/bin/p"));
}

#[test]
fn network_intelligence_is_as_published() {
    use network_intel::{
        Alert, AlertCategory, AlertSeverity, ConnAttemptEvent, DnsAnalytics, DnsQueryEvent,
        DnsResponseEvent, InterfaceRateEvent, NetworkIntelCollector, split_host_port,
    };

    is_wire::<Alert>();
    is_wire::<DnsAnalytics>();
    is_reading::<ConnAttemptEvent>();
    is_reading::<DnsQueryEvent>();
    is_reading::<DnsResponseEvent>();
    is_reading::<InterfaceRateEvent>();
    is_plain_enum::<AlertSeverity>();
    is_plain_enum::<AlertCategory>();
    can_be_shared::<NetworkIntelCollector>();

    let mut intel = NetworkIntelCollector::new();
    intel.set_bandwidth_threshold(1000_u64);
    for _ in 0..2 {
        intel.on_interface_rate(InterfaceRateEvent {
            iface: "eth0".into(),
            rx_bps: 2000_u64,
            tx_bps: 0_u64,
        });
    }
    intel.on_conn_attempt(ConnAttemptEvent {
        src_ip: "192.0.2.1".into(),
        dst_ip: "192.0.2.2".into(),
        dst_port: 1_u16,
    });
    intel.on_dns_query(DnsQueryEvent {
        txid: 1_u16,
        client_ip: "192.0.2.1".into(),
        server_ip: "192.0.2.53".into(),
        qname: "example.com".into(),
    });
    intel.on_dns_response(DnsResponseEvent {
        txid: 1_u16,
        client_ip: "192.0.2.1".into(),
        server_ip: "192.0.2.53".into(),
        rcode: 0_u8,
    });
    intel.tick();
    let count: usize = intel.active_alert_count();
    let history: &VecDeque<Alert> = intel.alert_history();
    assert_eq!((count, history.len()), (1, 1));
    let Alert {
        severity,
        category,
        message,
        detail,
        timestamp,
    } = intel.active_alerts().remove(0);
    let _: (String, String, DateTime<Utc>) = (message, detail, timestamp);
    let urgent = match severity {
        AlertSeverity::Warning => 1,
        AlertSeverity::Critical => 2,
    };
    assert!(urgent > 0);
    let label: &'static str = match category {
        AlertCategory::PortScan | AlertCategory::Beaconing | AlertCategory::DnsTunnel => "other",
        AlertCategory::Bandwidth => category.label(),
    };
    assert_eq!(label, "Bandwidth");

    let analytics: DnsAnalytics = intel.dns_analytics();
    assert!(!analytics.is_empty());
    let DnsAnalytics {
        total_queries,
        total_responses,
        nxdomain_count,
        latency_buckets,
        top_domains,
    } = analytics;
    let counts: (u64, u64, u64) = (total_queries, total_responses, nxdomain_count);
    assert_eq!(counts, (1, 1, 0));
    let answered: [u64; 8] = latency_buckets;
    assert_eq!(answered.iter().sum::<u64>(), 1);
    let expected: Vec<(String, u32)> = vec![("example.com".into(), 1)];
    assert_eq!(top_domains, expected);
    let split: Option<(String, u16)> = split_host_port("192.0.2.1:443");
    assert_eq!(split, Some(("192.0.2.1".into(), 443)));
}

#[test]
fn health_is_as_published() {
    assert_eq!(health::RTT_HISTORY_LEN, 60);
    is_reading::<health::PingResult>();
    let mut history = health::RttHistory::new();
    assert!(history.is_empty());
    history.push(Some(1.5));
    history.push(None);
    let values: Vec<Option<f64>> = history.snapshot();
    assert_eq!((values, history.len()), (vec![Some(1.5), None], 2));
    let ping: fn(&str) -> health::PingResult = health::run_ping;
    let health::PingResult { rtt_ms, loss_pct } = ping("127.0.0.1");
    let found: (Option<f64>, f64) = (rtt_ms, loss_pct);
    assert!(found.0.is_some() || found.1 != 0.0);
}

#[test]
fn disks_are_as_published() {
    is_wire::<disk::DiskUsage>();
    is_wire::<disk::DiskIo>();
    let usage: fn() -> Vec<disk::DiskUsage> = disk::collect_disk_usage;
    let io: fn() -> Option<disk::DiskIo> = disk::collect_disk_io;
    for disk::DiskUsage {
        mount_point,
        device,
        total_bytes,
        used_bytes,
        available_bytes,
        usage_pct,
    } in usage()
    {
        let _: (String, String, [u64; 3], f64) = (
            mount_point,
            device,
            [total_bytes, used_bytes, available_bytes],
            usage_pct,
        );
    }
    if let Some(disk::DiskIo {
        read_bytes,
        write_bytes,
    }) = io()
    {
        let _: [u64; 2] = [read_bytes, write_bytes];
    }
}

#[test]
fn the_system_is_as_published() {
    is_debug::<system::CpuInfo>();
    is_debug::<system::MemoryInfo>();
    is_debug::<system::SwapInfo>();
    is_debug::<system::LoadAvg>();
    let system::CpuInfo { model, cores } = system::detect_cpu_info();
    let _: (Option<String>, Option<u32>) = (model, cores);
    let _: Option<u64> = system::detect_memory_total();
    let _: Option<f64> = system::measure_cpu_usage();
    let _: Option<Vec<f64>> = system::measure_cpu_per_core();
    if let Some(system::MemoryInfo {
        total_bytes,
        available_bytes,
        used_bytes,
    }) = system::read_memory()
    {
        assert!(total_bytes >= available_bytes && total_bytes >= used_bytes);
    }
    if let Some(system::SwapInfo {
        total_bytes,
        used_bytes,
    }) = system::read_swap()
    {
        let _: [u64; 2] = [total_bytes, used_bytes];
    }
    if let Some(system::LoadAvg { one, five, fifteen }) = system::read_load_avg() {
        let _: [f64; 3] = [one, five, fifteen];
    }
}

#[test]
fn the_configuration_is_as_published() {
    let gateway: fn() -> Option<String> = config::detect_gateway;
    let dns: fn() -> Option<String> = config::detect_dns;
    drop((gateway(), dns()));
}
