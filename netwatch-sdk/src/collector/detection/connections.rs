//! Events of connections, as the detectors take them.
//!
//! TCP only: the first datagram of a connected UDP socket, which a lookup in DNS is
//! as well, is no attempt to connect. The process is named for what this host opened;
//! of what it accepted, the peer's process is not known.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use super::dns;
use crate::{
    backend::feed::Sink,
    collector::lock,
    detect::{Actor, ConnectionAttempt, ConnectionFailed, Detectors, Event, Failure, Host, Moment},
    event::{self, Change, ConnectionEvent, Side, Topic},
    reading::{Attribution, Direction, Protocol, dns::DnsDatagram},
};

/// The port of DNS servers.
const DNS_PORT: u16 = 53;

/// Gives events to the detectors, on the feed's thread.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Mutex<Detectors>>);

impl Sink for Watch {
    fn wants(&self, topic: Topic) -> bool {
        // DNS messages come as they passed.
        topic == Topic::Connections
    }

    fn take(&self, event: &event::Event) {
        let event::Event::Connection(connection) = event else {
            // What was lost is in the status.
            return;
        };
        let mut detectors = lock(&self.0);
        if asks_dns_server(connection) {
            detectors.tcp_to_dns_server();
        }
        if let Some(event) = translate(connection) {
            detectors.observe(Moment::of_wall(connection.time), &event);
        }
    }

    fn dns(&self, message: &DnsDatagram<'_>) {
        dns::observe(&self.0, message);
    }

    fn end(&self) {}
}

fn is_tcp(connection: &ConnectionEvent) -> bool {
    matches!(connection.protocol, Protocol::Tcp | Protocol::Mptcp)
}

/// The message inside is not read.
fn asks_dns_server(connection: &ConnectionEvent) -> bool {
    is_tcp(connection)
        && connection.change == Change::Opened
        && connection.direction == Some(Direction::Outgoing)
        && connection.remote.port() == DNS_PORT
}

fn translate(connection: &ConnectionEvent) -> Option<Event<'_>> {
    if !is_tcp(connection) {
        return None;
    }
    let is_outgoing = match connection.direction? {
        Direction::Outgoing => true,
        Direction::Incoming => false,
        Direction::Listening => return None,
    };
    let host = |end: SocketAddr| Host::from(end.ip());
    let (source, destination, port) = if is_outgoing {
        (
            connection.local,
            connection.remote,
            connection.remote.port(),
        )
    } else {
        (connection.remote, connection.local, connection.local.port())
    };
    let actor = match connection.process {
        Attribution::Process(id) if is_outgoing => Some(Actor {
            pid: id.pid,
            name: &connection.process_name,
        }),
        _ => None,
    };
    let attempt = ConnectionAttempt {
        source: host(source),
        destination: host(destination),
        port,
        actor,
    };
    let failure = match connection.change {
        Change::Opened => return Some(Event::ConnectionAttempt(attempt)),
        Change::Refused => Failure::Refused,
        Change::TimedOut => Failure::TimedOut,
        Change::Unreachable => Failure::Unreachable,
        Change::Reset if connection.reset_by == Some(Side::Remote) => Failure::Reset,
        _ => return None,
    };
    // What a peer tried with this host and broke off is not a failure of this host's.
    is_outgoing.then_some(Event::ConnectionFailed(ConnectionFailed {
        attempt,
        failure,
    }))
}
