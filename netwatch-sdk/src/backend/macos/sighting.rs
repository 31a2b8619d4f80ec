//! One socket as one reading shows it, from either tool.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use crate::{
    parse::{
        endpoint::Endpoint,
        lsof::{Lsof, OpenSocket},
        nettop::{Counters, FlowRow, Nettop, Sample, Transport},
    },
    reading::{Payload, Protocol, SocketState},
};

/// A socket's protocol and ends, which both tools and all readings agree on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) protocol: Protocol,
    local: (Option<IpAddr>, Option<u16>),
    remote: (Option<IpAddr>, Option<u16>),
    /// For wildcards only: with an address the family is the address's.
    ipv6: bool,
}

impl Ends {
    fn new(protocol: Protocol, ipv6: bool, local: &Endpoint, remote: Option<&Endpoint>) -> Self {
        // Zones are left out: one tool prints their names and the other their numbers.
        let end = |end: &Endpoint| {
            let ip = end.address.as_ref().map(|address| address.ip);
            let port = end.port.filter(|&port| port != 0);
            (ip.filter(|ip| !ip.is_unspecified()), port)
        };
        let (local, remote) = (end(local), remote.map_or((None, None), end));
        Self {
            protocol,
            local,
            remote,
            ipv6: ipv6 && local.0.is_none(),
        }
    }

    /// Whether no other socket can have the same ends.
    pub(super) const fn is_unique(&self) -> bool {
        matches!(self.protocol, Protocol::Tcp) && self.remote.0.is_some()
    }

    pub(super) const fn local_port(&self) -> Option<u16> {
        self.local.1
    }
}

/// A socket as one reading shows it.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) ends: Ends,
    pub(super) ipv6: bool,
    pub(super) local: Endpoint,
    pub(super) remote: Option<Endpoint>,
    /// Who has it, the one that `nettop` names first; empty when that is not known.
    pub(super) pids: Vec<u32>,
    pub(super) state: Option<SocketState>,
    /// `None` where `nettop` gives none.
    pub(super) bytes: Option<Bytes>,
    pub(super) rtt: Option<Duration>,
}

/// What a socket moved since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes {
    /// As printed: never goes back.
    pub(super) printed: Payload,
    /// Without what arrived or was sent again.
    pub(super) payload: Payload,
    /// Whether `payload` may be too high.
    pub(super) estimate: bool,
}

impl Bytes {
    fn new(counters: &Counters, transport: Transport) -> Self {
        let printed = Payload {
            rx_bytes: counters.rx_bytes,
            tx_bytes: counters.tx_bytes,
        };
        let duplicate = counters.rx_duplicate_bytes;
        let again = counters.tx_again_bytes;
        Self {
            printed,
            payload: Payload {
                rx_bytes: printed.rx_bytes.saturating_sub(duplicate.unwrap_or(0)),
                tx_bytes: printed.tx_bytes.saturating_sub(again.unwrap_or(0)),
            },
            estimate: transport != Transport::Tcp || duplicate.is_none() || again.is_none(),
        }
    }
}

/// The sockets of `nettop`, with what `lsof` knows of them.
pub(super) fn from_nettop(sample: &Sample, lsof: Option<&Lsof>) -> Vec<Sighting> {
    let holders = Holders::new(lsof);
    sample
        .flows
        .iter()
        .map(|flow| {
            let mut sighting = from_flow(flow);
            holders.add_to(&mut sighting);
            sighting
        })
        .collect()
}

/// The last sample, which is the only one of `-L 1`.
pub(super) fn last_sample(nettop: &Nettop) -> Option<&Sample> {
    nettop.samples.last()
}

fn from_flow(flow: &FlowRow) -> Sighting {
    let protocol = flow.transport.protocol();
    Sighting {
        ends: Ends::new(protocol, flow.ipv6, &flow.local, Some(&flow.remote)),
        ipv6: flow.ipv6,
        local: flow.local.clone(),
        remote: Some(flow.remote.clone()),
        pids: flow.pid.into_iter().collect(),
        state: flow.state,
        bytes: flow
            .counters
            .as_ref()
            .map(|counters| Bytes::new(counters, flow.transport)),
        rtt: flow.rtt,
    }
}

/// The sockets of `lsof` alone, each once.
pub(super) fn from_lsof(lsof: &Lsof) -> Vec<Sighting> {
    let mut sightings: Vec<Sighting> = Vec::new();
    let mut seen: HashMap<(Ends, Option<&str>), usize> = HashMap::new();
    for socket in &lsof.sockets {
        let Some(ends) = ends_of(socket) else {
            continue;
        };
        let device = socket.device.as_deref();
        let known = seen
            .get(&(ends.clone(), device))
            .filter(|_| device.is_some() || ends.is_unique())
            .and_then(|&at| sightings.get_mut(at));
        if let Some(sighting) = known {
            if !sighting.pids.contains(&socket.pid) {
                sighting.pids.push(socket.pid);
            }
            continue;
        }
        seen.insert((ends.clone(), device), sightings.len());
        sightings.push(Sighting {
            ends,
            ipv6: socket.ipv6.unwrap_or(false),
            local: socket.local.clone(),
            remote: socket.remote.clone(),
            pids: vec![socket.pid],
            state: socket.state,
            bytes: None,
            rtt: None,
        });
    }
    sightings
}

fn ends_of(socket: &OpenSocket) -> Option<Ends> {
    Some(Ends::new(
        socket.protocol?,
        socket.ipv6.unwrap_or(false),
        &socket.local,
        socket.remote.as_ref(),
    ))
}

/// Who has which socket open, by `lsof`.
#[derive(Default)]
struct Holders<'a> {
    by_ends: HashMap<Ends, Vec<&'a OpenSocket>>,
    by_device: HashMap<&'a str, BTreeSet<u32>>,
}

impl<'a> Holders<'a> {
    fn new(lsof: Option<&'a Lsof>) -> Self {
        let mut holders = Self::default();
        for socket in lsof.into_iter().flat_map(|lsof| &lsof.sockets) {
            if let Some(ends) = ends_of(socket) {
                holders.by_ends.entry(ends).or_default().push(socket);
            }
            if let Some(device) = socket.device.as_deref() {
                holders
                    .by_device
                    .entry(device)
                    .or_default()
                    .insert(socket.pid);
            }
        }
        holders
    }

    /// Adds the other holders, and the state where there is none.
    fn add_to(&self, sighting: &mut Sighting) {
        let Some(sockets) = self.by_ends.get(&sighting.ends) else {
            return;
        };
        if sighting.state.is_none() {
            sighting.state = sockets.iter().find_map(|socket| socket.state);
        }
        let unique = sighting.ends.is_unique();
        // Sockets with the same wildcards are told apart by their device; which of
        // several a row is cannot be seen.
        let only = match sockets.as_slice() {
            [only] => Some(*only),
            [first, rest @ ..] if rest.iter().all(|other| same_device(first, other)) => {
                Some(*first)
            }
            _ => None,
        };
        let mut pids: BTreeSet<u32> = BTreeSet::new();
        if unique {
            pids.extend(sockets.iter().map(|socket| socket.pid));
        } else if let Some(only) = only.filter(|only| sighting.pids.contains(&only.pid)) {
            let device = only.device.as_deref();
            pids.extend(
                device
                    .and_then(|device| self.by_device.get(device))
                    .into_iter()
                    .flatten(),
            );
        }
        for pid in pids {
            if !sighting.pids.contains(&pid) {
                sighting.pids.push(pid);
            }
        }
    }
}

fn same_device(one: &OpenSocket, other: &OpenSocket) -> bool {
    one.device.is_some() && one.device == other.device
}
