//! An agent written only against what `netwatch-sdk` 0.4.1 published: it compiles
//! against that crate and this one.
//!
//! `published_agent [SECONDS]` takes two snapshots so far apart (5 s unless told) and
//! prints an ingest request with both as JSON. It writes a line to stderr between them.

use std::{env, error::Error, thread, time::Duration};

use chrono::Utc;
use netwatch_sdk::{
    collectors::{
        config, connections, disk, health,
        network_intel::{InterfaceRateEvent, NetworkIntelCollector},
        proc_meta,
        process_bandwidth::ProcessBandwidthTracker,
        system,
        traffic::{self, InterfaceRateTracker},
    },
    types::{HealthMetric, HostInfo, IngestRequest, InterfaceMetric, Snapshot, SystemMetric},
};
use uuid::Uuid;

const MAX_PROCESSES: usize = 50;
const MAX_CONNECTIONS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = env::args().nth(1).map_or(Ok(5.0), |word| word.parse())?;
    let mut agent = Agent::new();
    let first = agent.snapshot();
    eprintln!("first snapshot taken");
    thread::sleep(Duration::from_secs_f64(seconds));
    let request = IngestRequest {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        snapshots: vec![first, agent.snapshot()],
    };
    println!("{}", serde_json::to_string_pretty(&request)?);
    Ok(())
}

struct Agent {
    rates: InterfaceRateTracker,
    processes: ProcessBandwidthTracker,
    intel: NetworkIntelCollector,
    gateway_history: health::RttHistory,
    dns_history: health::RttHistory,
}

impl Agent {
    fn new() -> Self {
        Self {
            rates: InterfaceRateTracker::new(),
            processes: ProcessBandwidthTracker::new(),
            intel: NetworkIntelCollector::new(),
            gateway_history: health::RttHistory::new(),
            dns_history: health::RttHistory::new(),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        // Probing takes the longest: the rest is then read at one moment.
        let health = self.health();
        let interfaces = traffic::sample(&mut self.rates).unwrap_or_else(|error| {
            eprintln!("interfaces: {error}");
            Vec::new()
        });
        self.watch_rates(&interfaces);
        let all = connections::collect_connections();
        let mut processes = self.processes.sample(&all, MAX_PROCESSES);
        if let Some(meta) = proc_meta::sample() {
            proc_meta::apply(&mut processes, &meta);
        }
        let states = connections::collect_tcp_states();
        let dns = self.intel.dns_analytics();
        Snapshot {
            timestamp: Utc::now(),
            interfaces,
            health: Some(health),
            connection_count: Some(connections::count_established_connections()),
            system: Some(system_metric()),
            disk_usage: Some(disk::collect_disk_usage()),
            disk_io: disk::collect_disk_io(),
            tcp_time_wait: Some(states.time_wait),
            tcp_close_wait: Some(states.close_wait),
            processes: Some(processes),
            connections: Some(connections::top_connections(all, MAX_CONNECTIONS)),
            alerts: Some(self.intel.active_alerts()),
            dns_analytics: (!dns.is_empty()).then_some(dns),
        }
    }

    fn watch_rates(&mut self, interfaces: &[InterfaceMetric]) {
        for interface in interfaces {
            if let (Some(rx), Some(tx)) = (interface.rx_rate, interface.tx_rate) {
                self.intel.on_interface_rate(InterfaceRateEvent {
                    iface: interface.name.clone(),
                    rx_bps: rx as u64,
                    tx_bps: tx as u64,
                });
            }
        }
        self.intel.tick();
    }

    fn health(&mut self) -> HealthMetric {
        let (gateway_ip, dns_ip) = (config::detect_gateway(), config::detect_dns());
        let gateway = gateway_ip.as_deref().map(health::run_ping);
        let dns = dns_ip.as_deref().map(health::run_ping);
        if let Some(ping) = &gateway {
            self.gateway_history.push(ping.rtt_ms);
        }
        if let Some(ping) = &dns {
            self.dns_history.push(ping.rtt_ms);
        }
        HealthMetric {
            gateway_ip,
            gateway_rtt_ms: gateway.as_ref().and_then(|ping| ping.rtt_ms),
            gateway_loss_pct: gateway.map(|ping| ping.loss_pct),
            dns_ip,
            dns_rtt_ms: dns.as_ref().and_then(|ping| ping.rtt_ms),
            dns_loss_pct: dns.map(|ping| ping.loss_pct),
            gateway_rtt_history: Some(self.gateway_history.snapshot()),
            dns_rtt_history: Some(self.dns_history.snapshot()),
        }
    }
}

fn system_metric() -> SystemMetric {
    let (memory, swap) = (system::read_memory(), system::read_swap());
    let load = system::read_load_avg();
    SystemMetric {
        cpu_usage_pct: system::measure_cpu_usage(),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total_bytes),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used_bytes),
        memory_available_bytes: memory.as_ref().map(|memory| memory.available_bytes),
        load_avg_1m: load.as_ref().map(|load| load.one),
        load_avg_5m: load.as_ref().map(|load| load.five),
        load_avg_15m: load.as_ref().map(|load| load.fifteen),
        swap_total_bytes: swap.as_ref().map(|swap| swap.total_bytes),
        swap_used_bytes: swap.as_ref().map(|swap| swap.used_bytes),
        cpu_per_core: system::measure_cpu_per_core(),
    }
}

fn host() -> HostInfo {
    let cpu = system::detect_cpu_info();
    HostInfo {
        // An agent makes one with `Uuid::new_v4` and keeps it.
        host_id: Uuid::nil(),
        hostname: "example".to_owned(),
        os: Some(env::consts::OS.to_owned()),
        kernel: None,
        uptime_secs: None,
        cpu_model: cpu.model,
        cpu_cores: cpu.cores,
        memory_total_bytes: system::detect_memory_total(),
    }
}
