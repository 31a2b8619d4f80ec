//! Attempts at closed ports, as `netwatch-ebpf`'s `closed_ports` noted them, and what it needs.

use std::{os::fd::AsFd as _, sync::OnceLock, time::Duration};

use aya::Ebpf;
use netwatch_common::{
    closed_port::{ClosedPort as Key, RECEIVERS, Tried},
    counters,
};

use super::{
    attach::attach_all, clock::Instants, decode, load::Loaded, maps, offsets::Layout, programs,
    symbols::Symbols, syscall,
};
use crate::{Error, ErrorKind, Result, reading::closed_port::ClosedPort};

/// Where the functions are that drop a packet for want of a socket.
pub(super) type Receivers = [[u64; 2]; RECEIVERS];

pub(super) const NO_RECEIVERS: Receivers = [[0; 2]; RECEIVERS];

/// The rest of `kfree_skb` where the compiler put its beginning elsewhere: the tracepoint then
/// has that beginning for the place where a packet is dropped.
const SPLIT: &str = "kfree_skb.part.0";

/// Those functions, where the kernel does not say why it drops a packet; zeros where it does.
///
/// # Errors
///
/// Where it does not say who drops it either.
pub(super) fn receivers(layout: &Layout, symbols: &Symbols) -> Result<Receivers> {
    static KNOWN: OnceLock<Receivers> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    if layout.no_socket.is_some() {
        return Ok(NO_RECEIVERS);
    }
    if symbols.has(SPLIT)? {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "this kernel does not say why it drops packets (Linux 5.17 does), nor where (it has {SPLIT})"
            ),
        ));
    }
    let found = symbols.extents(programs::RECEIVERS)?;
    // Where they are hidden now, they may not be later.
    if found != NO_RECEIVERS {
        return Ok(*KNOWN.get_or_init(|| found));
    }
    Ok(found)
}

/// Attaches the program that sees them.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    layout: &Layout,
    receivers: &Receivers,
    btf: &aya::Btf,
) -> Result<()> {
    if layout.no_socket.is_none() && *receivers == NO_RECEIVERS {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this kernel does not say why it drops packets (Linux 5.17 does), and hides \
             where its functions are (kernel.kptr_restrict)",
        ));
    }
    attach_all(ebpf, programs::CLOSED_PORTS, Some(btf), None)
}

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
        let map = maps::map(&loaded.ebpf, "CLOSED_PORTS")?;
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
