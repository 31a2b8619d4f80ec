//! Events as flat JSON objects; a field without a value is absent.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{ConnectionEvent, Event, Lost, Side};
use crate::reading::{Attribution, Direction};

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

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Connection(event) => event.serialize(serializer),
            Self::Lost(lost) => lost.serialize(serializer),
        }
    }
}

impl Serialize for ConnectionEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        ConnectionRow {
            event: self.change.name(),
            time: self.time,
            protocol: self.protocol.to_string(),
            local_addr: self.local,
            remote_addr: self.remote,
            direction: self.direction.map(Direction::name),
            pid: match self.process {
                Attribution::Process(id) => Some(id.pid.0),
                _ => None,
            },
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
