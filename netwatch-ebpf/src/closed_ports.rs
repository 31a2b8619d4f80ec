//! Who tries ports of this host that nobody has.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | tp_btf `kfree_skb` | `(struct sk_buff *skb, void *location, enum skb_drop_reason reason, …)` | 5.17 with the reason; 4.16 |
//!
//! The kernel has no socket for such a packet, so no other program runs. Before it told the
//! reason, the function that drops the packet says it. Every packet that is dropped for
//! another reason passes here too, and costs a comparison or four. A source that tries the
//! same port again before the next reading is in the map already: a flood costs a look-up
//! a packet and no memory. Not looked at: TCP over loopback. Not seen: what a packet filter
//! drops or answers in the kernel's place, and IPv6 with extension headers.
//! Writes `CLOSED_PORTS`, `COUNTERS`.
//!
//! Cost of a run, less an empty program's: 3 ns for another reason, 90 ns for a segment
//! that is no attempt, 250 ns for an attempt that is in the map, 360 ns for a new one.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use netwatch_common::{
    closed_port::{self, ClosedPort, Tried},
    counters,
};

use crate::{
    kernel::{AF_INET, AF_INET6, Skb},
    maps::{CLOSED_PORTS, count},
    packets::LOOPBACK_IFINDEX,
};

/// This kernel's number of `SKB_DROP_REASON_NO_SOCKET`. Patched before the programs are
/// loaded.
#[unsafe(no_mangle)]
static NO_SOCKET: u32 = NOT_TOLD;

/// The kernel tells no reason.
const NOT_TOLD: u32 = u32::MAX;

/// The functions that find no socket, where the kernel tells no reason: where each begins,
/// and its length. Patched likewise.
#[unsafe(no_mangle)]
static RECEIVERS: [[u64; 2]; closed_port::RECEIVERS] = [[0; 2]; closed_port::RECEIVERS];

const TCP: u8 = 6;
const UDP: u8 = 17;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Ports below are those of services.
const FIRST_UNPRIVILEGED: u16 = 1024;
const EXISTS: i32 = -17;

/// A packet is dropped.
#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a static; volatile, because the loader changes it.
    let no_socket = unsafe { (&raw const NO_SOCKET).read_volatile() };
    let is_closed = if no_socket == NOT_TOLD {
        is_by_receiver(ctx.arg(1))
    } else {
        ctx.arg::<u32>(2) == no_socket
    };
    if is_closed {
        note(Skb(ctx.arg(0)));
    }
    0
}

/// Whether a packet was dropped by a function that then found no socket for it, or next to
/// always did: these drop for a wrong checksum, too.
#[inline(always)]
fn is_by_receiver(location: u64) -> bool {
    for receiver in &RECEIVERS {
        // SAFETY: as above.
        let [start, length] = unsafe { (&raw const *receiver).read_volatile() };
        if location.wrapping_sub(start) < length {
            return true;
        }
    }
    false
}

#[inline(always)]
fn note(skb: Skb) {
    // Whole headers at once: each copy is a call. An IPv4 header has half of that.
    let ip: [u32; 10] = skb.network(0);
    let [ports, _, _, tcp]: [u32; 4] = skb.transport(0);
    let is_v4 = ip[0] as u8 >> 4 == 4;
    let protocol = if is_v4 { ip[2] >> 8 } else { ip[1] >> 16 } as u8;
    let (from, to) = (
        u16::from_be(ports as u16),
        u16::from_be((ports >> 16) as u16),
    );
    let is_attempt = match protocol {
        // All segments of a connection acknowledge something but its first, and resets: this
        // is a SYN, or the FIN or the nothing at all that scanners send in its place.
        // Who connects over loopback is seen at the other end, with the process.
        TCP => (tcp >> 8) as u8 & (RST | ACK) == 0 && skb.device() != LOOPBACK_IFINDEX,
        // A service answers a client that waits no longer.
        UDP => from >= FIRST_UNPRIVILEGED || to < FIRST_UNPRIVILEGED,
        _ => false,
    };
    if !is_attempt {
        return;
    }
    let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let (source, destination, family) = if is_v4 {
        ([ip[3].into(), 0], [ip[4].into(), 0], AF_INET)
    } else {
        (
            [both(ip[2], ip[3]), both(ip[4], ip[5])],
            [both(ip[6], ip[7]), both(ip[8], ip[9])],
            AF_INET6,
        )
    };
    let key = ClosedPort {
        source,
        port: to,
        family,
        protocol: protocol.into(),
    };
    let tried = Tried {
        // SAFETY: always allowed.
        at_ns: unsafe { bpf_ktime_get_boot_ns() },
        destination,
    };
    match CLOSED_PORTS.insert(key, tried, BPF_NOEXIST.into()) {
        Ok(()) => count(counters::CLOSED_PORTS, 1),
        Err(EXISTS) => {}
        Err(_) => count(counters::CLOSED_PORTS_LOST, 1),
    }
}
