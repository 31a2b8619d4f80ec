//! Reads `FLOWS` as the rows that the other rungs give.
//!
//! Those programs see neither calls nor the ends of processes: payload is what TCP
//! counted, and `/proc` says when an owner started, what it is called now, and whether
//! it is gone.

use std::{
    collections::hash_map::Entry,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapError},
};
use netwatch_common::{
    flow::Flow,
    process::{ProcessKey, ProcessRecord},
    socket::{FLAG_ENDED, FLAG_LISTENING, FLAG_OUTGOING, SocketRow, Wire},
};
use procfs::process::Process;

use super::super::{accounts, maps, object::missing, syscall};
use crate::{
    Error, ErrorKind, Result,
    backend::id_hash::{IdMap, IdSet},
    platform::clock::ticks_per_second,
    reading::{Payload, Protocol, SocketState},
};

/// A closed TCP socket whose end is not told is over after this time without a packet.
const LINGERS: Duration = Duration::from_secs(120);

const AF_INET6: u16 = 10;

const FLOW: usize = size_of::<Flow>();

/// One reading, as `accounts` takes it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<(ProcessKey, ProcessRecord)>,
    pub(super) open: Vec<SocketRow>,
    pub(super) closed: Vec<SocketRow>,
}

/// What is kept between readings.
#[derive(Debug)]
pub(super) struct Table {
    /// The owner of each open socket, as it was when the socket was first read.
    owners: IdMap<u64, ProcessKey>,
    /// Every process with a total.
    processes: IdMap<ProcessKey, ProcessRecord>,
    /// Closed sockets of nobody that is known.
    unowned: ProcessRecord,
    /// Closed TCP sockets whose end is not told: packets so far, and since when.
    lingering: IdMap<u64, (u64, Instant)>,
    /// `/proc` shows the pids that the kernel programs see.
    has_proc: bool,
}

/// A process as `/proc` shows it.
struct Shown {
    start_ns: u64,
    comm: [u8; 16],
}

impl Table {
    pub(super) fn new(has_proc: bool) -> Self {
        Self {
            owners: IdMap::default(),
            processes: IdMap::default(),
            unowned: ProcessRecord::default(),
            lingering: IdMap::default(),
            has_proc,
        }
    }

    /// Takes a reading, and takes what has ended out of the map.
    pub(super) fn read(&mut self, ebpf: &mut Ebpf) -> Result<Found> {
        let now = Instant::now();
        let mut found = Found::default();
        let mut shown: IdMap<u32, Option<Shown>> = IdMap::default();
        let mut present: IdSet<u64> = IdSet::default();
        for (cookie, flow) in all(ebpf)? {
            present.insert(cookie);
            let is_over = flow.row.record.flags & FLAG_ENDED != 0 || self.has_gone(&flow, now);
            let flow = if is_over {
                take(ebpf, cookie)?.unwrap_or(flow)
            } else {
                flow
            };
            if flow.row.record.owner == ProcessKey::TEST {
                continue;
            }
            let mut row = flow.row;
            row.record.owner = match self.owners.entry(cookie) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let key = row.record.owner;
                    let process = shown
                        .entry(key.tgid)
                        .or_insert_with(|| self.has_proc.then(|| show(key.tgid)).flatten());
                    *new.insert(with_start(key, flow.seen_ns, process.as_ref()))
                }
            };
            (row.record.rx_bytes, row.record.tx_bytes) = payload(&flow);
            self.note(&row);
            if is_over {
                self.owners.remove(&cookie);
                self.lingering.remove(&cookie);
                if row.record.owner == ProcessKey::NONE {
                    add(&mut self.unowned, &row);
                }
                found.closed.push(row);
            } else {
                found.open.push(row);
            }
        }
        self.owners.retain(|cookie, _| present.contains(cookie));
        self.lingering.retain(|cookie, _| present.contains(cookie));
        self.update(&mut shown, &found.open);
        found.records = self
            .processes
            .iter()
            .map(|(key, one)| (*key, *one))
            .collect();
        found.records.push((ProcessKey::NONE, self.unowned));
        Ok(found)
    }

    /// Forgets processes to which nothing can be added any more.
    pub(super) fn forget(&mut self, keys: &[ProcessKey]) {
        for key in keys {
            self.processes.remove(key);
        }
    }

    fn note(&mut self, row: &SocketRow) {
        if row.record.owner != ProcessKey::NONE {
            let record = self.processes.entry(row.record.owner).or_default();
            if record.comm == [0; 16] {
                record.comm = row.record.comm;
            }
            if record.cgroup_id == 0 {
                record.cgroup_id = row.header.cgroup_id;
            }
        }
    }

    /// Names processes as they are called now, and marks those that have gone.
    fn update(&mut self, shown: &mut IdMap<u32, Option<Shown>>, open: &[SocketRow]) {
        let owners: IdSet<ProcessKey> = open.iter().map(|row| row.record.owner).collect();
        for (key, record) in &mut self.processes {
            let process = shown
                .entry(key.tgid)
                .or_insert_with(|| self.has_proc.then(|| show(key.tgid)).flatten());
            let is_it = |process: &&Shown| process.start_ns == key.start_ns;
            match process.as_ref().filter(is_it) {
                Some(process) => record.comm = process.comm,
                None => record.exited = u32::from(!owners.contains(key)),
            }
        }
    }

    /// `true` for a TCP socket that was closed, will not tell its end, and is silent.
    fn has_gone(&mut self, flow: &Flow, now: Instant) -> bool {
        if flow.row.header.attached != 0 || flow.end_is_seen != 0 {
            return false;
        }
        let packets = flow.row.record.wire.iter();
        let packets: u64 = packets.map(|part| part.rx_packets + part.tx_packets).sum();
        let (before, since) = self
            .lingering
            .entry(flow.row.header.cookie)
            .or_insert((packets, now));
        if *before != packets {
            (*before, *since) = (packets, now);
        }
        now.saturating_duration_since(*since) >= LINGERS
    }
}

fn all(ebpf: &Ebpf) -> Result<Vec<(u64, Flow)>> {
    let map = maps::map(ebpf, "FLOWS")?;
    syscall::read_map(map.fd().as_fd()).map_err(|error| Error::io("FLOWS cannot be read", error))
}

/// Takes a flow out of the map; `None` when it is not there.
fn take(ebpf: &mut Ebpf, cookie: u64) -> Result<Option<Flow>> {
    let failed = |error| Error::new(ErrorKind::Io, "FLOWS cannot be written").because(error);
    let map = ebpf.map_mut("FLOWS").ok_or_else(|| missing("FLOWS"))?;
    let mut map = BpfHashMap::<_, u64, [u8; FLOW]>::try_from(map).map_err(failed)?;
    let flow = match map.get(&cookie, 0) {
        Ok(flow) => zerocopy::transmute!(flow),
        Err(MapError::KeyNotFound) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match map.remove(&cookie) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(Some(flow)),
        Err(error) => Err(failed(error)),
    }
}

/// Payload of the sockets of the test of the hooks. Of datagrams, packets less their
/// headers; of a stream, what its ends received, which the others have sent.
pub(super) fn of_test(ebpf: &Ebpf) -> Result<Payload> {
    const UDP_HEADER: u64 = 8;
    let mut seen = Payload::default();
    for (_, flow) in all(ebpf)? {
        let (header, record) = (&flow.row.header, &flow.row.record);
        if record.owner != ProcessKey::TEST {
            continue;
        }
        if Protocol::from_number(header.protocol) == Protocol::Tcp {
            seen.rx_bytes += record.rx_bytes;
            seen.tx_bytes += record.rx_bytes;
            continue;
        }
        let headers = UDP_HEADER + if header.family == AF_INET6 { 40 } else { 20 };
        let wire = accounts::wire(&record.wire);
        seen.rx_bytes += wire.rx_bytes.saturating_sub(wire.rx_packets * headers);
        seen.tx_bytes += wire.tx_bytes.saturating_sub(wire.tx_packets * headers);
    }
    Ok(seen)
}

/// The owner with its start, where `/proc` still shows that process.
fn with_start(key: ProcessKey, seen_ns: u64, process: Option<&Shown>) -> ProcessKey {
    match process {
        // One that is younger than the socket has only the same pid.
        Some(process)
            if key.start_ns == ProcessKey::START_UNKNOWN && process.start_ns <= seen_ns =>
        {
            ProcessKey {
                start_ns: process.start_ns,
                ..key
            }
        }
        _ => key,
    }
}

fn show(tgid: u32) -> Option<Shown> {
    let stat = Process::new(i32::try_from(tgid).ok()?).ok()?.stat().ok()?;
    let tick_ns = 1_000_000_000 / ticks_per_second();
    let mut comm = [0; 16];
    for (place, byte) in comm.iter_mut().zip(stat.comm.bytes().take(15)) {
        *place = byte;
    }
    Some(Shown {
        start_ns: stat.starttime.saturating_mul(tick_ns),
        comm,
    })
}

fn add(total: &mut ProcessRecord, row: &SocketRow) {
    total.rx_bytes += row.record.rx_bytes;
    total.tx_bytes += row.record.tx_bytes;
    for (total, part) in total.wire.iter_mut().zip(&row.record.wire) {
        *total = Wire {
            rx_bytes: total.rx_bytes + part.rx_bytes,
            tx_bytes: total.tx_bytes + part.tx_bytes,
            rx_packets: total.rx_packets + part.rx_packets,
            tx_packets: total.tx_packets + part.tx_packets,
        };
    }
}

/// Received and sent bytes from what TCP counted since the socket was first seen: at
/// most what calls moved, since a SYN and a FIN count as one.
fn payload(flow: &Flow) -> (u64, u64) {
    let (header, record) = (&flow.row.header, &flow.row.record);
    if Protocol::from_number(header.protocol) != Protocol::Tcp || record.flags & FLAG_LISTENING != 0
    {
        return (0, 0);
    }
    let ended = record.flags & FLAG_ENDED != 0;
    let state = SocketState::from_number(if ended {
        flow.last_state.try_into().unwrap_or(0)
    } else {
        header.state
    });
    // A connection that ends in FIN-WAIT-2 ends by the peer's FIN, or by a timer.
    let peer_ended = matches!(
        state,
        SocketState::CloseWait
            | SocketState::LastAck
            | SocketState::Closing
            | SocketState::TimeWait
            | SocketState::Closed
    ) || ended && state == SocketState::FinWait2;
    let end_acked = matches!(
        state,
        SocketState::FinWait2 | SocketState::TimeWait | SocketState::Closed
    ) || ended && matches!(state, SocketState::LastAck | SocketState::Closing);
    let connected = record.flags & FLAG_OUTGOING != 0 && flow.tx_before == 0;
    let rx = record.rx_bytes.saturating_sub(flow.rx_before);
    let tx = record.tx_bytes.saturating_sub(flow.tx_before);
    (
        rx.saturating_sub(u64::from(peer_ended)),
        tx.saturating_sub(u64::from(connected) + u64::from(end_acked)),
    )
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSE: u8 = 7;

    fn flow(flags: u32, state: u8, last_state: u8, received: u64, acked: u64) -> Flow {
        let mut flow = Flow::new_zeroed();
        flow.row.header.protocol = 6;
        flow.row.header.state = state;
        flow.row.record.flags = flags;
        flow.row.record.rx_bytes = received;
        flow.row.record.tx_bytes = acked;
        flow.last_state = last_state.into();
        flow
    }

    #[test]
    fn a_syn_and_a_fin_are_no_payload() {
        assert_eq!(
            payload(&flow(FLAG_OUTGOING, ESTABLISHED, 0, 10, 21)),
            (10, 20)
        );
        assert_eq!(payload(&flow(0, CLOSE_WAIT, 0, 11, 20)), (10, 20));
        let ended = FLAG_ENDED | FLAG_OUTGOING;
        assert_eq!(payload(&flow(ended, CLOSE, LAST_ACK, 11, 22)), (10, 20));
        // A reset.
        assert_eq!(payload(&flow(ended, CLOSE, ESTABLISHED, 10, 21)), (10, 20));
    }

    #[test]
    fn what_was_before_does_not_count() {
        let mut flow = flow(0, ESTABLISHED, 0, 1_000, 2_000);
        (flow.rx_before, flow.tx_before) = (990, 1_980);
        assert_eq!(payload(&flow), (10, 20));
    }

    #[test]
    fn a_younger_process_with_the_pid_of_an_owner_is_not_it() {
        let key = ProcessKey {
            start_ns: ProcessKey::START_UNKNOWN,
            tgid: 42,
            reserved: 0,
        };
        let process = Shown {
            start_ns: 500,
            comm: [0; 16],
        };
        assert_eq!(with_start(key, 700, Some(&process)).start_ns, 500);
        assert_eq!(with_start(key, 400, Some(&process)), key);
        assert_eq!(with_start(key, 700, None), key);
    }
}
