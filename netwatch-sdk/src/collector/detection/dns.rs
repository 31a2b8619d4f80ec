//! DNS messages, as the detectors take them.

use std::sync::Mutex;

use crate::{
    collector::lock,
    detect::{Actor, ClientSocket, Detectors, DnsMessage, Event, Moment},
    reading::{Attribution, dns::DnsDatagram},
};

/// Gives one to the detectors.
pub(super) fn observe(detectors: &Mutex<Detectors>, datagram: &DnsDatagram<'_>) {
    let event = Event::DnsMessage(message(datagram));
    lock(detectors).observe(Moment::of(datagram.at), &event);
}

fn message<'a>(datagram: &DnsDatagram<'a>) -> DnsMessage<'a> {
    let (source, destination) = if datagram.sent {
        (datagram.local, datagram.remote)
    } else {
        (datagram.remote, datagram.local)
    };
    DnsMessage {
        source: source.ip().into(),
        source_port: source.port(),
        destination: destination.ip().into(),
        destination_port: destination.port(),
        payload: datagram.message,
        actor: match datagram.owner {
            Attribution::Process(id) => Some(Actor {
                pid: id.pid,
                name: datagram.owner_name,
            }),
            _ => None,
        },
        socket: Some(ClientSocket {
            id: datagram.socket,
            forwards: datagram.forwards,
        }),
    }
}
