//! Messages of DNS clients, as `netwatch-ebpf`'s `dns` copied them.
//!
//! A reading takes them out of the ring buffer, and so does the feed's thread when it
//! runs and the ring is more than a quarter full; one at a time, so they stay in order.

use std::{
    collections::HashSet,
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use aya::maps::{Map, RingBuf};
use netwatch_common::{
    dns::{DnsRow, KEPT, SENT, SERVES},
    process::ProcessKey,
};
use zerocopy::FromBytes as _;

use super::{
    clock::{Clock, Instants},
    decode,
    load::Loaded,
};
use crate::{
    Error, ErrorKind, Result,
    reading::{Attribution, SocketId, dns::DnsDatagram},
};

/// The ring buffer, and what is remembered from one message to the next.
pub(super) struct Dns {
    ring: Map,
    /// Its size.
    bytes: u32,
    /// The processes that answer on port 53.
    servers: HashSet<ProcessKey>,
    clock: Clock,
    instants: Instants,
    /// Rows that are none.
    pub(super) unreadable: u64,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Dns {
    /// `None` where no messages are copied.
    pub(super) fn new(loaded: &Loaded, bytes: u32) -> Result<Option<Self>> {
        if bytes == 0 || loaded.cgroup.is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            ring: loaded.handle("DNS")?,
            bytes,
            servers: HashSet::new(),
            clock: Clock::new(),
            instants: Instants::now(),
            unreadable: 0,
        }))
    }

    /// To wait for it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.ring {
            Map::RingBuf(data) => Some(data.fd().as_fd()),
            _ => None,
        }
    }

    /// Hands over what is in the ring buffer, but no more than fits into it: what
    /// comes in meanwhile is for the next time. `true` when nothing was left.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(DnsDatagram<'_>)) -> Result<bool> {
        let failed = |error| Error::new(ErrorKind::Io, "DNS cannot be read").because(error);
        // Mapped only for as long as it is read: a mapping counts twice its size as
        // this process's memory.
        let mut ring = RingBuf::try_from(&self.ring).map_err(failed)?;
        self.clock.refresh();
        self.instants.refresh();
        for _ in 0..self.bytes as usize / size_of::<DnsRow>() {
            let Some(item) = ring.next() else {
                return Ok(true);
            };
            match DnsRow::ref_from_prefix(&item) {
                Ok((row, _)) if row.kind == SERVES => {
                    if row.owner != ProcessKey::NONE {
                        self.servers.insert(row.owner);
                    }
                }
                Ok((row, _)) => hand_over(
                    row,
                    self.servers.contains(&row.owner),
                    (&self.clock, self.instants),
                    take,
                ),
                Err(_) => self.unreadable += 1,
            }
        }
        Ok(false)
    }

    /// Forgets the servers that `is_running` does not know.
    pub(super) fn forget(&mut self, is_running: impl Fn(&ProcessKey) -> bool) {
        self.servers.retain(is_running);
    }
}

fn hand_over(
    row: &DnsRow,
    forwards: bool,
    (clock, instants): (&Clock, Instants),
    take: &mut dyn FnMut(DnsDatagram<'_>),
) {
    let at = Duration::from_nanos(row.at_ns);
    let owner = decode::attribution(&row.owner);
    let name = decode::name(&row.comm);
    let (owner_name, started) = match owner {
        Attribution::Process(id) => (name.as_str(), id.started),
        _ => ("", None),
    };
    let kept = (row.length as usize).min(KEPT);
    take(DnsDatagram {
        at: instants.at(at),
        time: clock.wall(at),
        socket: SocketId(row.cookie),
        sent: row.kind == SENT,
        local: decode::address(row.family, row.local, row.local_port),
        remote: decode::address(row.family, row.remote, row.remote_port),
        owner,
        owner_name,
        owner_started: started.map(|since| clock.wall(since)),
        forwards,
        message: row.message.get(..kept).unwrap_or_default(),
    });
}
