//! The maps by name, and `COUNTERS`.

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use netwatch_common::counters;

use super::{object::missing, refusal::refusal};
use crate::{Error, ErrorKind, Result};

/// The kernel's handle on a map.
pub(super) fn map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    match ebpf.map(name) {
        Some(Map::SkStorage(data) | Map::HashMap(data) | Map::Array(data) | Map::RingBuf(data)) => {
            Ok(data)
        }
        _ => Err(missing(name)),
    }
}

/// A map as aya's typed wrappers take it.
pub(super) fn generic_map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Map> {
    ebpf.map(name).ok_or_else(|| missing(name))
}

/// One of `COUNTERS`.
pub(super) fn counter(ebpf: &Ebpf, index: u32) -> Result<u64> {
    let failed = |error| Error::new(ErrorKind::Io, "COUNTERS cannot be read").because(error);
    let map = Array::<_, u64>::try_from(generic_map(ebpf, "COUNTERS")?).map_err(failed)?;
    map.get(&index, 0).map_err(failed)
}

/// All of `COUNTERS`.
pub(super) fn all_counters(ebpf: &Ebpf) -> Result<[u64; counters::LEN as usize]> {
    let mut values = [0; counters::LEN as usize];
    for (index, value) in (0..).zip(&mut values) {
        *value = counter(ebpf, index)?;
    }
    Ok(values)
}

/// Writes one of `COUNTERS`.
pub(super) fn set_counter(ebpf: &mut Ebpf, index: u32, value: u64) -> Result<()> {
    let failed = |error| refusal("COUNTERS cannot be written", &error);
    let map = ebpf
        .map_mut("COUNTERS")
        .ok_or_else(|| missing("COUNTERS"))?;
    let mut map = Array::<_, u64>::try_from(map).map_err(failed)?;
    map.set(index, value, 0).map_err(failed)
}
