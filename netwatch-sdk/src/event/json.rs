//! Events as flat JSON objects; a field without a value is absent.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{ConnectionEvent, DnsEvent, Event, Lost, Side};
use crate::{
    parse::dns,
    reading::{Attribution, Direction},
};

#[derive(Serialize)]
struct ConnectionRow<'a> {
    event: &'static str,
    time: DateTime<Utc>,
    protocol: String,
    local_addr: SocketAddr,
    remote_addr: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    process_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_started_at: Option<DateTime<Utc>>,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<&'a str>,
    cookie: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_cookie: Option<u64>,
    netns_inode: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_us: Option<f64>,
    rx_bytes: u64,
    tx_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_rtt_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_var_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_min_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_by: Option<&'static str>,
}

#[derive(Serialize)]
struct LostRow {
    event: &'static str,
    time: DateTime<Utc>,
    events: u64,
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

const fn pid(process: Attribution) -> Option<u32> {
    match process {
        Attribution::Process(id) => Some(id.pid.0),
        _ => None,
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Connection(event) => event.serialize(serializer),
            Self::Dns(event) => event.serialize(serializer),
            Self::Lost(lost) => lost.serialize(serializer),
        }
    }
}

impl Serialize for ConnectionEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ConnectionRow {
            event: self.change.name(),
            time: self.time,
            protocol: self.protocol.to_string(),
            local_addr: self.local,
            remote_addr: self.remote,
            direction: self.direction.map(Direction::name),
            pid: pid(self.process),
            process_name: &self.process_name,
            process_started_at: self.process_started_at,
            uid: self.uid,
            cgroup_id: self.cgroup_id,
            cgroup: self.cgroup.as_deref(),
            container_id: self.container_id(),
            cookie: self.id.0,
            netns_cookie: self.netns.cookie,
            netns_inode: self.netns.inode,
            age_us: self.age.map(micros),
            rx_bytes: self.payload.rx_bytes,
            tx_bytes: self.payload.tx_bytes,
            kernel_rtt_us: self.rtt.map(|rtt| micros(rtt.smoothed)),
            rtt_var_us: self.rtt.and_then(|rtt| rtt.variation).map(micros),
            rtt_min_us: self.rtt.and_then(|rtt| rtt.minimum).map(micros),
            retransmits: self.retransmits,
            errno: self.errno,
            reset_by: self.reset_by.map(Side::name),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct DnsRow<'a> {
    event: &'static str,
    time: DateTime<Utc>,
    protocol: &'static str,
    local_addr: SocketAddr,
    remote_addr: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    process_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_started_at: Option<DateTime<Utc>>,
    forwards: bool,
    cookie: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opcode: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<f64>,
}

impl Serialize for DnsEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DnsRow {
            event: self.kind.name(),
            time: self.time,
            protocol: "UDP",
            local_addr: self.local,
            remote_addr: self.remote,
            pid: pid(self.process),
            process_name: &self.process_name,
            process_started_at: self.process_started_at,
            forwards: self.forwards,
            cookie: self.id.0,
            dns_id: self.transaction,
            name: self.name.as_deref(),
            record_type: self.record_type.map(dns::record_type_name),
            opcode: self.opcode,
            rcode: self.rcode.map(dns::rcode_name),
            latency_us: self.latency.map(micros),
        }
        .serialize(serializer)
    }
}

impl Serialize for Lost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LostRow {
            event: "lost",
            time: self.time,
            events: self.events,
        }
        .serialize(serializer)
    }
}
