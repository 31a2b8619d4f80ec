//! Events to test with.

use std::time::Duration;

use crate::{
    detect::{
        Actor, DnsMessage, Event, FailedConnectionsThreshold, Host, Moment,
        RetransmitStormThreshold, Thresholds,
    },
    reading::Pid,
};

pub(super) fn later(start: Moment, by: Duration) -> Moment {
    Moment {
        monotonic: start.monotonic + by,
        wall: start.wall + by,
    }
}

pub(super) fn all_on() -> Thresholds {
    Thresholds {
        retransmit_storm: Some(RetransmitStormThreshold::default()),
        failed_connections: Some(FailedConnectionsThreshold::default()),
        ..Thresholds::default()
    }
}

/// A DNS message with one question of type A, class IN.
pub(super) fn message(id: u16, flags: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for field in [id, flags, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

const RESOLVER: &str = "127.0.0.53";

pub(super) fn to_resolver(payload: &[u8]) -> Event<'_> {
    Event::DnsMessage(DnsMessage {
        source: Host::from_text("127.0.0.1"),
        source_port: 40_000,
        destination: Host::from_text(RESOLVER),
        destination_port: 53,
        payload,
        actor: Some(Actor {
            pid: Pid(7),
            name: "curl",
        }),
        socket: None,
    })
}

pub(super) fn from_resolver(payload: &[u8]) -> Event<'_> {
    Event::DnsMessage(DnsMessage {
        source: Host::from_text(RESOLVER),
        source_port: 53,
        destination: Host::from_text("127.0.0.1"),
        destination_port: 40_000,
        payload,
        actor: None,
        socket: None,
    })
}

/// A fixed sequence of numbers from 0 to 1.
pub(super) fn chance(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}
