//! How large the maps are that nobody chooses, and what the chosen sizes mean.

use netwatch_common::dns;

use crate::backend::map_sizes::MapSizes;

/// Sockets that can be getting an owner at the same time.
pub(super) const CLAIMS: u32 = 1024;
/// Threads that can be in a function whose return is probed, at the same time.
pub(super) const CALLS: u32 = 4096;
/// Threads that programs with doubles can note. They come and go, and take memory then.
pub(super) const NOTED: u32 = 65_536;
/// Sockets whose records can lack bytes of a call at the same time.
pub(super) const OWED: u32 = 4096;

impl MapSizes {
    /// When DNS messages are copied.
    pub(super) fn dns_wanted(self) -> u32 {
        match (self.dns_bytes, self.dns_while_told) {
            (0, _) => dns::NEVER,
            (_, true) => dns::WHILE_TOLD,
            (_, false) => dns::ALWAYS,
        }
    }
}
