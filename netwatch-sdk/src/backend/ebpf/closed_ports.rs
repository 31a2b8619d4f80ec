//! Attempts at closed ports, as `netwatch-ebpf`'s `closed_ports` noted them.

use std::{os::fd::AsFd as _, time::Duration};

use netwatch_common::{
    closed_port::{ClosedPort as Key, Tried},
    counters,
};

use super::{
    clock::Instants,
    decode,
    load::{self, Loaded},
    maps, syscall,
};
use crate::{Error, Result, reading::closed_port::ClosedPort};

/// How far they were read.
#[derive(Debug, Default)]
pub(super) struct ClosedPorts {
    taken: u64,
}

impl ClosedPorts {
    /// Empties the map, if there is something in it.
    pub(super) fn drain(
        &mut self,
        loaded: &Loaded,
        take: &mut dyn FnMut(ClosedPort),
    ) -> Result<()> {
        let made = maps::counter(&loaded.ebpf, counters::CLOSED_PORTS)?;
        if made == self.taken {
            return Ok(());
        }
        let map = load::map(&loaded.ebpf, "CLOSED_PORTS")?;
        let mut found: Vec<(Key, Tried)> = syscall::empty_map(map.fd().as_fd())
            .map_err(|error| Error::io("CLOSED_PORTS cannot be read", error))?;
        self.taken += found.len() as u64;
        found.sort_unstable_by_key(|(_, tried)| tried.at_ns);
        let clock = Instants::now();
        for (key, tried) in found {
            take(ClosedPort {
                at: clock.at(Duration::from_nanos(tried.at_ns)),
                source: decode::address(key.family, key.source, 0).ip(),
                destination: decode::address(key.family, tried.destination, key.port),
            });
        }
        Ok(())
    }
}
