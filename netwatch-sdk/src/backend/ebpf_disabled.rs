//! The twin of `ebpf` where there are no kernel programs to load.

use crate::{
    Error, ErrorKind, Result,
    backend::{Measure, map_sizes::MapSizes},
    collector::{Check, Hook},
};

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
