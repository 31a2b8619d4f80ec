//! Records of `EVENTS` to typed events.

use std::{sync::Arc, time::Duration};

use netwatch_common::{
    event::{self, ConnectionEvent as Record},
    socket::{FLAG_INCOMING, FLAG_OUTGOING, FLAG_RECEIVED_FIRST},
};
use zerocopy::FromBytes as _;

use super::{cgroup::CgroupPaths, clock::Clock, decode};
use crate::{
    event::{Change, ConnectionEvent, Event, Side},
    reading::{Attribution, Direction, Payload, Protocol, SocketState},
};

/// What decoding needs beside the record.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) clock: Clock,
    pub(super) cgroups: CgroupPaths,
}

/// Gives the events of one record to a sink; `false` when it makes no sense.
pub(super) type Decode = fn(&[u8], &mut Context, &mut dyn FnMut(Event)) -> bool;

/// A record of `EVENTS`, as [`Decode`].
pub(super) fn connection(bytes: &[u8], context: &mut Context, sink: &mut dyn FnMut(Event)) -> bool {
    let Ok((record, _)) = Record::read_from_prefix(bytes) else {
        return false;
    };
    let Some((change, reset_by)) = change(&record) else {
        return false;
    };
    let header = &record.socket;
    let protocol = Protocol::from_number(header.protocol);
    let stream = protocol != Protocol::Udp;
    let process = decode::attribution(&record.owner);
    let opened = (record.opened_ns != 0).then_some(record.opened_ns);
    // Noted a moment before the record was made.
    let time_ns = match change {
        Change::Opened => opened.unwrap_or(record.time_ns),
        _ => record.time_ns,
    };
    let wall = |ns: u64| context.clock.wall(Duration::from_nanos(ns));
    let event = ConnectionEvent {
        change,
        time: wall(time_ns),
        id: decode::id(header),
        netns: decode::netns(header),
        protocol,
        local: decode::local(header),
        remote: decode::remote(header),
        direction: direction(&record, protocol),
        process,
        process_name: match process {
            Attribution::Process(_) => decode::name(&record.comm),
            Attribution::Kernel => "[kernel]".to_owned(),
            Attribution::Unknown | Attribution::Unattributed => "[unknown]".to_owned(),
        },
        process_started_at: match process {
            Attribution::Process(id) => id.started.map(|since| context.clock.wall(since)),
            _ => None,
        },
        uid: header.uid,
        cgroup_id: (header.cgroup_id != 0).then_some(header.cgroup_id),
        cgroup: context.cgroups.get(header.cgroup_id).map(str::to_owned),
        age: opened.map(|opened| Duration::from_nanos(time_ns.saturating_sub(opened))),
        payload: Payload {
            rx_bytes: record.rx_bytes,
            tx_bytes: record.tx_bytes,
        },
        rtt: decode::rtt(header),
        retransmits: stream.then(|| u64::from(header.retransmits)),
        errno: i32::try_from(record.error).ok().filter(|&error| error != 0),
        reset_by,
    };
    if change == Change::Established && event.direction == Some(Direction::Incoming) {
        // Until now the kernel had no socket for it.
        sink(Event::Connection(Arc::new(ConnectionEvent {
            change: Change::Opened,
            time: opened.map_or(event.time, wall),
            age: opened.map(|_| Duration::ZERO),
            ..event.clone()
        })));
    }
    sink(Event::Connection(Arc::new(event)));
    true
}

fn direction(record: &Record, protocol: Protocol) -> Option<Direction> {
    if protocol == Protocol::Udp {
        let received_first = record.flags & FLAG_RECEIVED_FIRST != 0;
        return (record.opened_ns != 0).then_some(if received_first {
            Direction::Incoming
        } else {
            Direction::Outgoing
        });
    }
    if record.flags & FLAG_OUTGOING != 0 {
        Some(Direction::Outgoing)
    } else if record.flags & FLAG_INCOMING != 0 {
        Some(Direction::Incoming)
    } else {
        None
    }
}

/// What a record tells of, and who reset the connection if that is it.
fn change(record: &Record) -> Option<(Change, Option<Side>)> {
    let change = match record.kind {
        event::OPENED => Change::Opened,
        event::ESTABLISHED => Change::Established,
        event::CLOSED => Change::Closed,
        event::BROKEN => return Some(broken(record)),
        _ => return None,
    };
    Some((change, None))
}

fn broken(record: &Record) -> (Change, Option<Side>) {
    let attempt = matches!(
        SocketState::from_number(record.old_state),
        SocketState::SynSent | SocketState::SynReceived
    );
    let error = i32::try_from(record.error).unwrap_or_default();
    match error {
        libc::ETIMEDOUT => (Change::TimedOut, None),
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENONET => {
            (Change::Unreachable, None)
        }
        libc::ECONNREFUSED if attempt => (Change::Refused, None),
        _ if attempt => (Change::Failed, None),
        _ => (
            Change::Reset,
            match SocketState::from_number(record.old_state) {
                SocketState::Established | SocketState::CloseWait
                    if matches!(error, 0 | libc::ECONNABORTED) =>
                {
                    Some(Side::Local)
                }
                SocketState::Established | SocketState::CloseWait => Some(Side::Remote),
                _ => None,
            },
        ),
    }
}
