//! What the kernel keeps of a TCP connection.

use core::ffi::c_void;

use netwatch_common::offsets::ABSENT;

use super::{OFFSETS, load, patched};

pub const TCP_ESTABLISHED: u8 = 1;
pub const TCP_SYN_SENT: u8 = 2;
pub const TCP_SYN_RECV: u8 = 3;
pub const TCP_CLOSE: u8 = 7;
pub const TCP_CLOSE_WAIT: u8 = 8;
pub const TCP_LISTEN: u8 = 10;

/// A `struct tcp_sock`.
#[derive(Clone, Copy)]
pub struct Tcp<const PROBE: bool>(pub(super) *const c_void);

impl<const PROBE: bool> Tcp<PROBE> {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> T {
        // SAFETY: `self.0` is a `struct tcp_sock`, the offset is one of its fields'.
        unsafe { load::<T, PROBE>(self.0, offset) }
    }

    /// Network order. Unlike the socket's own field it is still there at the end.
    #[inline(always)]
    pub fn local_port_be(self) -> u16 {
        self.field(offset!(tcp_local_port))
    }

    #[inline(always)]
    pub fn copied_seq(self) -> u32 {
        self.field(offset!(tcp_copied_seq))
    }

    /// Up to where the peer's data and its FIN have arrived.
    #[inline(always)]
    pub fn rcv_nxt(self) -> u32 {
        self.field(offset!(tcp_rcv_nxt))
    }

    /// Bytes that were read from the stream since it was established.
    #[inline(always)]
    pub fn consumed(self) -> u64 {
        let unread = self
            .field::<u32>(offset!(tcp_rcv_nxt))
            .wrapping_sub(self.copied_seq());
        self.field::<u64>(offset!(tcp_bytes_received))
            .wrapping_sub(u64::from(unread))
    }

    #[inline(always)]
    pub fn write_seq(self) -> u32 {
        self.field(offset!(tcp_write_seq))
    }

    /// `true` when the numbers are those of a stream. `connect` chooses the first, and counts
    /// its SYN, later than it changes the state; with `TCP_FASTOPEN_CONNECT` the first write does.
    #[inline(always)]
    pub fn has_begun(self, state: u8) -> bool {
        match state {
            TCP_CLOSE | TCP_LISTEN => false,
            TCP_SYN_SENT => self.field::<u32>(offset!(tcp_packets_out)) != 0,
            _ => true,
        }
    }

    /// Bytes that were written since the stream began, and 1 for the SYN where this side
    /// sent it. Not once a FIN is written.
    #[inline(always)]
    pub fn written(self) -> u64 {
        let unacknowledged = self
            .write_seq()
            .wrapping_sub(self.field::<u32>(offset!(tcp_snd_una)));
        self.field::<u64>(offset!(tcp_bytes_acked))
            .wrapping_add(u64::from(unacknowledged))
    }

    /// `true` while sequence numbers are being set by hand (`TCP_REPAIR`).
    #[inline(always)]
    pub fn is_repaired(self) -> bool {
        let bit = offset!(tcp_repair_bit);
        bit != ABSENT && self.field::<u8>(bit / 8) & (1 << (bit % 8)) != 0
    }

    #[inline(always)]
    pub fn srtt_8us(self) -> u32 {
        self.field(offset!(tcp_srtt))
    }

    #[inline(always)]
    pub fn mdev_4us(self) -> u32 {
        self.field(offset!(tcp_mdev))
    }

    #[inline(always)]
    pub fn min_rtt_us(self) -> u32 {
        self.field(offset!(tcp_rtt_min))
    }

    #[inline(always)]
    pub fn retransmits(self) -> u32 {
        self.field(offset!(tcp_retransmits))
    }

    /// Whether an upper layer protocol is between calls and the stream. Kernel TLS is not
    /// in a direction that it has no keys for, as its bits say.
    #[inline(always)]
    pub(super) fn has_layer(self, tls_bits: u32) -> bool {
        const TLS: u32 = u32::from_le_bytes(*b"tls\0");
        const KEYS: u8 = 0b111;
        let layer: *const c_void = self.field(offset!(tcp_ulp));
        if layer.is_null() {
            return false;
        }
        // SAFETY: a `struct tcp_ulp_ops`, and by its name a `struct tls_context`.
        unsafe {
            if tls_bits == ABSENT || load::<u32, true>(layer, offset!(ulp_name)) != TLS {
                return true;
            }
            let tls: *const c_void = self.field(offset!(tcp_ulp_data));
            load::<u8, true>(tls, tls_bits / 8) >> (tls_bits % 8) & KEYS != 0
        }
    }

    /// Whether the socket has an upper layer protocol.
    #[inline(always)]
    pub fn ulp(self) -> bool {
        !self.field::<*const c_void>(offset!(tcp_ulp)).is_null()
    }
}
