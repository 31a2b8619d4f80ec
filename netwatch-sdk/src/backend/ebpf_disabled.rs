//! The twin of `ebpf` where there are no kernel programs to load.

use crate::{
    Error, ErrorKind, Result,
    backend::Measure,
    collector::{Check, Hook},
};

/// Sizes of the maps, which are not made here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MapSizes {
    pub(crate) processes: u32,
    pub(crate) sockets: u32,
    pub(crate) in_table: bool,
    pub(crate) closed_bytes: u32,
    pub(crate) dns_bytes: u32,
    pub(crate) dns_while_told: bool,
    pub(crate) closed_ports: u32,
    pub(crate) event_bytes: u32,
}

/// Always an error that says why.
pub(crate) fn start(_sizes: MapSizes, _hooks: &[Hook]) -> Result<Box<dyn Measure>> {
    Err(Error::new(
        ErrorKind::Unsupported,
        if cfg!(not(feature = "ebpf")) {
            "this program was built without the feature `ebpf`"
        } else {
            "eBPF needs Linux on x86_64 or aarch64"
        },
    ))
}

/// Nothing to look at.
pub(crate) fn checks() -> Vec<Check> {
    Vec::new()
}
