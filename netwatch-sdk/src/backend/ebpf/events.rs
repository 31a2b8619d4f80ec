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

#[cfg(test)]
mod tests {
    use netwatch_common::{process::ProcessKey, socket::SocketHeader};
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn context() -> Context {
        Context {
            clock: Clock::new(),
            cgroups: CgroupPaths::default(),
        }
    }

    fn decoded(bytes: &[u8]) -> Option<Vec<Arc<ConnectionEvent>>> {
        let mut events = Vec::new();
        let is_read = connection(bytes, &mut context(), &mut |event| match event {
            Event::Connection(event) => events.push(event),
            other => panic!("{other:?}"),
        });
        assert_eq!(is_read, !events.is_empty());
        is_read.then_some(events)
    }

    const SYN_SENT: u8 = 2;
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT2: u8 = 5;
    const CLOSE_WAIT: u8 = 8;

    fn record(kind: u8, old_state: u8, error: i32) -> Record {
        Record {
            socket: SocketHeader {
                cookie: 7,
                family: 2,
                protocol: 6,
                local: [u64::from_ne_bytes([127, 0, 0, 1, 0, 0, 0, 0]), 0],
                remote: [u64::from_ne_bytes([192, 0, 2, 9, 0, 0, 0, 0]), 0],
                local_port: 5000,
                remote_port_be: 443_u16.to_be(),
                srtt_8us: 800,
                mdev_4us: 40,
                min_rtt_us: 90,
                retransmits: 3,
                ..SocketHeader::default()
            },
            owner: ProcessKey {
                start_ns: 1_000_000,
                tgid: 42,
                reserved: 0,
            },
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
            time_ns: 5_000_000_000,
            opened_ns: 3_000_000_000,
            tx_bytes: 10,
            rx_bytes: 20,
            error: error.cast_unsigned(),
            flags: FLAG_OUTGOING,
            kind,
            old_state,
            reserved: [0; 6],
        }
    }

    #[test]
    fn a_record_is_one_event_with_all_it_holds() {
        let events = decoded(record(event::CLOSED, 7, 0).as_bytes()).unwrap();
        let [event] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(event.change, Change::Closed);
        assert_eq!(event.local, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(event.remote, "192.0.2.9:443".parse().unwrap());
        assert_eq!(event.process_name, "curl");
        assert_eq!(event.direction, Some(Direction::Outgoing));
        assert_eq!(event.age, Some(Duration::from_secs(2)));
        assert_eq!((event.payload.tx_bytes, event.payload.rx_bytes), (10, 20));
        assert_eq!(event.retransmits, Some(3));
        let rtt = event.rtt.unwrap();
        assert_eq!(rtt.smoothed, Duration::from_micros(100));
        assert_eq!((event.errno, event.reset_by), (None, None));
    }

    #[test]
    fn an_incoming_connection_opens_when_its_handshake_is_done() {
        let incoming = Record {
            flags: FLAG_INCOMING,
            ..record(event::ESTABLISHED, 3, 0)
        };
        let events = decoded(incoming.as_bytes()).unwrap();
        let changes: Vec<Change> = events.iter().map(|event| event.change).collect();
        assert_eq!(changes, [Change::Opened, Change::Established]);
        assert_eq!(events[0].age, Some(Duration::ZERO));
        assert!(events[0].time < events[1].time);
    }

    #[test]
    fn state_and_error_say_how_a_connection_broke() {
        use Change::{Failed, Refused, Reset, TimedOut, Unreachable};
        use Side::{Local, Remote};
        for (old, error, change, by) in [
            (SYN_SENT, libc::ECONNREFUSED, Refused, None),
            (SYN_SENT, libc::ETIMEDOUT, TimedOut, None),
            (SYN_SENT, libc::EHOSTUNREACH, Unreachable, None),
            (SYN_SENT, libc::ENETUNREACH, Unreachable, None),
            (SYN_SENT, 0, Failed, None),
            (SYN_SENT, libc::EACCES, Failed, None),
            (ESTABLISHED, 0, Reset, Some(Local)),
            (ESTABLISHED, libc::ECONNABORTED, Reset, Some(Local)),
            (ESTABLISHED, libc::ECONNRESET, Reset, Some(Remote)),
            (CLOSE_WAIT, libc::EPIPE, Reset, Some(Remote)),
            (ESTABLISHED, libc::ETIMEDOUT, TimedOut, None),
            (FIN_WAIT2, libc::ECONNRESET, Reset, None),
        ] {
            let events = decoded(record(event::BROKEN, old, error).as_bytes()).unwrap();
            let found = (events[0].change, events[0].reset_by);
            assert_eq!(found, (change, by), "{old} {error}");
            assert_eq!(events[0].errno, (error != 0).then_some(error));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(decoded(&[]), None);
        let whole = record(event::OPENED, 7, 0);
        assert_eq!(decoded(&whole.as_bytes()[..100]), None);
        assert_eq!(decoded(record(0, 7, 0).as_bytes()), None);
        assert_eq!(decoded(record(99, 7, 0).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            decoded(&bytes);
        }

        #[test]
        fn any_record_of_a_known_kind_is_an_event_that_can_be_written(
            bytes in proptest::collection::vec(any::<u8>(), size_of::<Record>()),
            kind in event::OPENED..=event::CLOSED,
        ) {
            let mut record = Record::read_from_bytes(&bytes).unwrap();
            record.kind = kind;
            for event in decoded(record.as_bytes()).unwrap() {
                serde_json::to_string(&*event).unwrap();
            }
        }
    }
}
