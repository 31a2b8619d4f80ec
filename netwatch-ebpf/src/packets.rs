//! IP packets, by socket.
//!
//! | hook | since |
//! |---|---|
//! | `cgroup_skb` ingress and egress at the cgroup v2 root | 4.10 |
//!
//! Bytes are IP bytes with headers. A packet that the device will split, or that
//! was put together from several, counts as those several with all their headers.
//! Not seen: packets of no full socket (to a closed port, to a socket in
//! TIME-WAIT), forwarded ones, and the extra headers of IP fragments.
//! Writes `SOCKETS`, `COUNTERS`.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`): ingress
//! 29 ns, egress 55 ns.

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::{bpf_get_socket_cookie, bpf_sk_fullsock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use netwatch_common::{
    counters,
    socket::{LOOPBACK, NETWORK, Wire},
};

use crate::{
    atomic, dns,
    kernel::Sock,
    maps::count,
    processes,
    store::{self, by_kprobes, in_table},
};

/// 1 when the programs here are attached. Patched before the programs are loaded.
#[unsafe(no_mangle)]
static PACKETS_COUNTED: u32 = 1;

#[inline(always)]
pub fn are_counted() -> bool {
    // SAFETY: a static, volatile because the loader changes it.
    unsafe { core::ptr::read_volatile(&raw const PACKETS_COUNTED) != 0 }
}

pub const PASS: i32 = 1;
/// The loopback device's index in every network namespace.
pub const LOOPBACK_IFINDEX: u32 = 1;
const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// A packet arrived at a socket.
#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    find_and_add::<false>(&ctx);
    PASS
}

/// A packet left a socket.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    find_and_add::<true>(&ctx);
    PASS
}

#[inline(always)]
fn find_and_add<const EGRESS: bool>(ctx: &SkBuffContext) {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the program's context; the verifier checks the socket for null.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: not null.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return;
    }
    // SAFETY: a full socket, the program's context, and a map value, checked for null.
    unsafe {
        if is_without_end((*sk).type_, sk.cast()) {
            match processes::kernel() {
                Some(kernel) => add::<EGRESS>(ctx, &raw mut (*kernel).wire),
                None => count(counters::UNATTRIBUTED_WIRE, (*skb).len.into()),
            }
            return;
        }
    }
    // SAFETY: a full socket.
    let Some(record) = (unsafe { store::find_or_make_late(sk.cast()) }) else {
        count(counters::UNTRACKED_PACKETS, 1);
        return;
    };
    // SAFETY: a map value, checked for null; the helper takes the context.
    unsafe {
        if in_table() && !store::has_cookie(record) {
            bpf_get_socket_cookie(skb.cast());
        }
    }
    // SAFETY: a full socket and its record, checked for null.
    unsafe {
        add::<EGRESS>(ctx, &raw mut (*record).wire);
        dns::look::<EGRESS>(ctx, sk, record);
    }
}

/// Whether it is one of the kernel's own sockets whose end no program sees. In the table its
/// record would stay, and be the next such socket's at its address; each network namespace has
/// several.
///
/// # Safety
///
/// `sk` is a full socket.
#[inline(always)]
unsafe fn is_without_end(kind: u32, sk: *mut c_void) -> bool {
    const STREAM: u32 = 1;
    if !in_table() || by_kprobes() || kind == STREAM {
        return false;
    }
    // SAFETY: the caller's promise.
    if unsafe { store::find(sk) }.is_some() {
        return false;
    }
    // As a number: the verifier allows no other fields of this pointer's type.
    let sk: Sock<true> = Sock(store::address(sk) as *mut c_void);
    sk.is_kernel()
}

/// Adds a packet to a socket's packets.
///
/// # Safety
///
/// `wire` is in a map value, checked for null.
#[inline(always)]
pub unsafe fn add<const EGRESS: bool>(ctx: &SkBuffContext, wire: *mut [Wire; 2]) {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the program's context.
    let (length, ifindex, gso_size) = unsafe { ((*skb).len, (*skb).ifindex, (*skb).gso_size) };
    let (packets, bytes) = if gso_size == 0 {
        (1, length.into())
    } else {
        // SAFETY: the program's context.
        segments(ctx, length, gso_size, unsafe { (*skb).gso_segs })
    };
    // SAFETY: a map value, checked for null.
    unsafe {
        let wire = wire.cast::<Wire>().add(link(ifindex));
        if EGRESS {
            atomic::add(&raw mut (*wire).tx_bytes, bytes);
            atomic::add(&raw mut (*wire).tx_packets, packets);
        } else {
            atomic::add(&raw mut (*wire).rx_bytes, bytes);
            atomic::add(&raw mut (*wire).rx_packets, packets);
        }
    }
}

/// The index of a device's kind of link. Computed, not chosen: without `CAP_PERFMON` the
/// verifier allows no pointer that is one place on one path and another on the other.
#[inline(always)]
fn link(ifindex: u32) -> usize {
    const _: () = assert!(LOOPBACK == 0 && NETWORK == 1);
    let other = ifindex ^ LOOPBACK_IFINDEX;
    // The highest bit is set unless `other` is 0; the compiler must not see through it.
    (black_box(other | other.wrapping_neg()) >> 31) as usize
}

/// Packets and bytes that an offloaded packet of `length` bytes stands for.
#[inline(always)]
fn segments(ctx: &SkBuffContext, length: u32, gso_size: u32, gso_segs: u32) -> (u64, u64) {
    let Some(headers) = headers(ctx) else {
        return (1, length.into());
    };
    let payload = length.saturating_sub(headers);
    let segments = if gso_segs != 0 {
        gso_segs
    } else {
        payload.div_ceil(gso_size)
    }
    .max(1);
    let (segments, length) = (u64::from(segments), u64::from(length));
    (segments, length + (segments - 1) * u64::from(headers))
}

/// Length of the IP and transport headers.
#[inline(always)]
pub fn headers(ctx: &SkBuffContext) -> Option<u32> {
    let first: u8 = ctx.load(0).ok()?;
    let (mut protocol, mut at) = if first >> 4 == 4 {
        (ctx.load::<u8>(9).ok()?, (first as usize & 0xf) * 4)
    } else {
        (ctx.load::<u8>(6).ok()?, 40)
    };
    // At most four IPv6 extension headers: hop-by-hop, routing, destination options.
    for _ in 0..4 {
        if first >> 4 == 4 || !matches!(protocol, 0 | 43 | 60) {
            break;
        }
        protocol = ctx.load::<u8>(at).ok()?;
        at += (ctx.load::<u8>(at + 1).ok()? as usize + 1) * 8;
    }
    match protocol {
        TCP => Some(at as u32 + (u32::from(ctx.load::<u8>(at + 12).ok()?) >> 4) * 4),
        UDP => Some(at as u32 + 8),
        _ => None,
    }
}
