//! How large the maps of the kernel programs are.

/// Sizes of the maps that a builder chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapSizes {
    /// Processes with a record at the same time.
    pub(crate) processes: u32,
    /// Sockets with a record at the same time, where records are in a table.
    pub(crate) sockets: u32,
    /// Keep records in a table also where the kernel has socket storage.
    pub(crate) in_table: bool,
    /// Bytes of rows of closed sockets between two readings; a power of two.
    pub(crate) closed_bytes: u32,
    /// Bytes of rows of DNS messages likewise; 0 when they are not wanted.
    pub(crate) dns_bytes: u32,
    /// DNS messages are wanted only while someone listens to them.
    pub(crate) dns_while_told: bool,
    /// Attempts at closed ports between two readings; 0 when they are not wanted.
    pub(crate) closed_ports: u32,
    /// Bytes of events that nobody has read yet; a power of two.
    pub(crate) event_bytes: u32,
}

impl Default for MapSizes {
    fn default() -> Self {
        Self {
            processes: 16_384,
            sockets: 65_536,
            in_table: false,
            closed_bytes: 4 << 20,
            dns_bytes: 2 << 20,
            dns_while_told: false,
            closed_ports: 4096,
            event_bytes: 2 << 20,
        }
    }
}
