//! Messages of DNS clients, as `netwatch-ebpf`'s `dns` copied them.

use std::{borrow::Borrow, time::Duration};

use aya::maps::{MapData, RingBuf};
use netwatch_common::{
    dns::{DnsRow, KEPT, SENT, SERVES},
    process::ProcessKey,
};
use zerocopy::FromBytes as _;

use super::{clock::Instants, decode};
use crate::{
    backend::id_hash::IdSet,
    reading::{Attribution, SocketId, dns::DnsDatagram},
};

/// What is remembered from one message to the next.
#[derive(Debug, Default)]
pub(super) struct Dns {
    /// The processes that answer on port 53.
    servers: IdSet<ProcessKey>,
    /// Rows that are none.
    pub(super) unreadable: u64,
}

impl Dns {
    /// Hands over what is in the ring buffer, but no more than fits into it: what
    /// comes in meanwhile is for the next time.
    pub(super) fn drain<M: Borrow<MapData>>(
        &mut self,
        ring: &mut RingBuf<M>,
        bytes: u32,
        take: &mut dyn FnMut(DnsDatagram<'_>),
    ) {
        let clock = Instants::now();
        for _ in 0..bytes as usize / size_of::<DnsRow>() {
            let Some(item) = ring.next() else { return };
            match DnsRow::ref_from_prefix(&item) {
                Ok((row, _)) => self.take(row, clock, take),
                Err(_) => self.unreadable += 1,
            }
        }
    }

    fn take(&mut self, row: &DnsRow, clock: Instants, take: &mut dyn FnMut(DnsDatagram<'_>)) {
        if row.kind == SERVES {
            if row.owner != ProcessKey::NONE {
                self.servers.insert(row.owner);
            }
            return;
        }
        let name = decode::name(&row.comm);
        let owner = match decode::attribution(&row.owner) {
            Attribution::Process(id) => Some((id, name.as_str())),
            _ => None,
        };
        let kept = (row.length as usize).min(KEPT);
        take(DnsDatagram {
            at: clock.at(Duration::from_nanos(row.at_ns)),
            socket: SocketId(row.cookie),
            sent: row.kind == SENT,
            local: decode::address(row.family, row.local, row.local_port),
            remote: decode::address(row.family, row.remote, row.remote_port),
            owner,
            forwards: self.servers.contains(&row.owner),
            message: row.message.get(..kept).unwrap_or_default(),
        });
    }

    /// Forgets the servers that `is_running` does not know.
    pub(super) fn forget(&mut self, is_running: impl Fn(&ProcessKey) -> bool) {
        self.servers.retain(is_running);
    }
}
