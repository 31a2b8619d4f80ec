//! Maps by numbers that the kernel hands out: cookies, inodes, process ids with start times.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// A map from a socket's cookie or inode, or a process's key.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A set of sockets' cookies or inodes.
pub(crate) type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// The same map, in the order in which things were added to it.
#[cfg(target_os = "linux")]
pub(crate) type IdIndexMap<K, V> = indexmap::IndexMap<K, V, BuildHasherDefault<IdHasher>>;

/// Spreads a counter over all bits. Nobody outside the kernel chooses the
/// numbers, so no defence against chosen ones is needed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

/// 2⁶⁴ divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
        // The map takes its place from the low bits, which a product fills last.
        self.0 = mixed ^ (mixed >> 32);
    }
}
