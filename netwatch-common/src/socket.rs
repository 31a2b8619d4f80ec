//! The maps `SOCKETS` and `SOCKET_TABLE`, and a socket's row in the ring buffers `OPEN`
//! and `CLOSED`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::process::ProcessKey;

/// IP packets of one socket over one kind of link.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Wire {
    /// Bytes received, IP header included.
    pub rx_bytes: u64,
    /// Bytes sent, IP header included.
    pub tx_bytes: u64,
    /// Packets received; each segment of a coalesced one counts.
    pub rx_packets: u64,
    /// Packets sent; each segment of an offloaded one counts.
    pub tx_packets: u64,
}

/// Index into a pair of [`Wire`]: packets over the namespace's loopback device.
pub const LOOPBACK: usize = 0;
/// Index into a pair of [`Wire`]: packets over any other device.
pub const NETWORK: usize = 1;

/// The counters kept of a socket: in its socket storage, or in a table by its address.
///
/// All zero is a socket that was just seen and has no owner yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketRecord {
    /// Who made the socket or, for an accepted one, who first used it.
    pub owner: ProcessKey,
    /// Payload bytes the owner sent.
    pub tx_bytes: u64,
    /// Payload bytes the owner received.
    pub rx_bytes: u64,
    /// Payload bytes others sent; they are in those processes' totals already.
    pub shared_tx_bytes: u64,
    /// Payload bytes others received, likewise.
    pub shared_rx_bytes: u64,
    /// Listings: the sum of the counters when the last one wrote a row, see
    /// [`settled`](Self::settled); 0 for a socket that is to have a row in every listing.
    pub listed: u64,
    /// Packets, by [`LOOPBACK`] and [`NETWORK`].
    pub wire: [Wire; 2],
    /// Nanoseconds from boot to when the connection was opened; 0 when not seen.
    /// UDP: to the first datagram while connected.
    pub opened_ns: u64,
    /// TCP: `copied_seq` up to which received bytes are counted.
    pub copied_seq: u32,
    /// Bits named `FLAG_*` here.
    pub flags: u32,
    /// How often the TCP state has changed.
    pub states: u16,
    /// TCP: the state that it was last seen to take.
    pub state: u8,
    /// TCP: 1 once its last file is closed and its owner's bytes are in `PROCESSES`.
    pub paid: u8,
    /// TCP, where sent bytes are taken from `write_seq`: up to where they are counted.
    pub written_seq: u32,
    /// Without a cookie: when it was first listed, or got [`COOKIE_OWN`]. That number tells it
    /// from other sockets at the same address.
    pub born: u32,
    /// `COOKIE_*`: which number identifies the socket.
    pub cookie: u8,
    /// 1 once the row that says so is in `DNS`: the socket serves DNS.
    pub serves_dns: u8,
    /// Remote port when the TCP state became CLOSE, network order; a reset clears the
    /// socket's own.
    pub last_remote_port_be: u16,
    /// The owner's name, NUL-padded.
    pub comm: [u8; 16],
    /// Local address at that time, as in [`SocketHeader`].
    pub last_local: [u64; 2],
    /// Remote address, likewise.
    pub last_remote: [u64; 2],
}

impl SocketRecord {
    /// `listed` of a socket whose counters have this sum and that a second listing
    /// has found unchanged. What a packet changes in the socket besides, it changes
    /// after it was counted: only the second row is sure to have it.
    #[must_use]
    #[inline(always)]
    pub const fn settled(sum: u64) -> u64 {
        sum << 2 | 2
    }

    /// `listed` after the first row with this sum.
    #[must_use]
    #[inline(always)]
    pub const fn fresh(sum: u64) -> u64 {
        sum << 2 | 1
    }

    /// `true` when the next listing has a row for it only if something has changed.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.listed & 3 == 2
    }
}

/// The kernel has given the socket its cookie.
pub const COOKIE_KERNEL: u8 = 1;
/// The kernel had not when the socket was first listed: it has another number for good.
pub const COOKIE_OWN: u8 = 2;

/// `copied_seq` is set.
pub const FLAG_MARKED: u32 = 1;
/// This host connected.
pub const FLAG_OUTGOING: u32 = 1 << 1;
/// This host accepted.
pub const FLAG_INCOMING: u32 = 1 << 2;
/// Older than the collector.
pub const FLAG_OLDER: u32 = 1 << 3;
/// A listener, now or before it closed.
pub const FLAG_LISTENING: u32 = 1 << 4;
/// Its end was seen and its bytes are in `PROCESSES` and `CLOSED`: the record only
/// waits for the kernel to free the socket.
pub const FLAG_ENDED: u32 = 1 << 5;
/// TCP: its last attempt to connect failed.
pub const FLAG_FAILED: u32 = 1 << 6;
/// UDP: the first datagram while connected was received, not sent.
pub const FLAG_RECEIVED_FIRST: u32 = 1 << 7;
/// `written_seq` is set.
pub const FLAG_WRITTEN: u32 = 1 << 8;

// Each has a bit of its own.
const _: () = assert!(
    (FLAG_MARKED
        | FLAG_OUTGOING
        | FLAG_INCOMING
        | FLAG_OLDER
        | FLAG_LISTENING
        | FLAG_ENDED
        | FLAG_FAILED
        | FLAG_RECEIVED_FIRST
        | FLAG_WRITTEN)
        == (1 << 9) - 1
);

/// What a socket is, read from the kernel when the row is made.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketHeader {
    /// The socket's cookie, or a number with the highest bit set where it has none.
    pub cookie: u64,
    /// Its network namespace's cookie; 0 where the kernel has none.
    pub netns_cookie: u64,
    /// The cgroup v2 it was made in; 0 where not known.
    pub cgroup_id: u64,
    /// Local address: 16 bytes for IPv6, the first 4 for IPv4.
    pub local: [u64; 2],
    /// Remote address, likewise.
    pub remote: [u64; 2],
    /// Inode of the network namespace.
    pub netns_inode: u32,
    /// User id.
    pub uid: u32,
    /// TCP: smoothed round-trip time, eighths of a microsecond; 0 when not measured.
    pub srtt_8us: u32,
    /// TCP: mean deviation of the round-trip time, quarters of a microsecond.
    pub mdev_4us: u32,
    /// TCP: smallest round-trip time of the window, microseconds; `u32::MAX` when not measured.
    pub min_rtt_us: u32,
    /// TCP: segments sent again.
    pub retransmits: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, network order.
    pub remote_port_be: u16,
    /// TCP state number.
    pub state: u8,
    /// 1 when the kernel made the socket for itself.
    pub kernel: u8,
    /// 1 when a process can hold it: it has a file, or had one.
    pub attached: u8,
    /// 1 on the row of a closed socket when its bytes are in `PROCESSES` already.
    pub folded: u8,
    /// Always 0.
    pub reserved: u32,
}

/// One socket as it is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketRow {
    /// What it is.
    pub header: SocketHeader,
    /// What it moved.
    pub record: SocketRecord,
}

const _: () = assert!(size_of::<Wire>() == 32);
const _: () = assert!(size_of::<SocketRecord>() == 200);
const _: () = assert!(size_of::<SocketHeader>() == 96);
const _: () = assert!(size_of::<SocketRow>() == 296);
