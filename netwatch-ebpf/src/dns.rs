//! UDP messages of DNS clients, at the client's socket.
//!
//! Called by `packets` for every packet of a socket with a record. A message
//! between two sockets of this host passes both; it is taken at the client's only:
//! leaving for port 53, or arriving from it. The server's socket is reported once,
//! so that what a forwarder asks on behalf of others can be told apart.
//!
//! The server's address and port are a connected socket's own. Address translation
//! (a container's resolver) shows them changed in one direction and not in the other.
//!
//! Writes `SOCKETS`, `DNS`, `COUNTERS`.
//!
//! Cost of a message, and of what the detectors do with it: `cargo xtask bench dns`;
//! that of any other packet is in `packets`'s.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE,
        bpf_sock,
    },
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_skb_load_bytes,
        generated::bpf_ringbuf_query,
    },
    programs::SkBuffContext,
};
use netwatch_common::{
    counters,
    dns::{ALWAYS, DnsRow, KEPT, NEVER, PORT, RECEIVED, SENT, SERVES},
    socket::SocketRecord,
};

use crate::{
    kernel::{AF_INET, AF_INET6},
    maps::{DNS, count, counter},
    packets::{UDP, headers},
    words,
};

/// When the messages are wanted, see `netwatch_common::dns`. Patched before the programs
/// are loaded.
#[unsafe(no_mangle)]
static DNS_WANTED: u32 = NEVER;

/// `true` while someone listens to the messages.
#[inline(always)]
fn told() -> bool {
    counter(counters::DNS_TOLD) != 0
}

/// Where addresses and ports begin in a packet without options.
const V4_ADDRESSES: u32 = 12;
const V4_PORTS: usize = 20;
const V6_ADDRESSES: u32 = 8;
const V6_PORTS: usize = 40;
/// Of a message. A shorter one is none, and nothing of it is copied.
const HEADER: u32 = 12;
/// The byte of a message whose first bit says that it is a response.
const FLAGS: usize = 2;
const RESPONSE: u8 = 0x80;

/// Looks at a packet of a socket.
///
/// # Safety
///
/// `sk` is a full socket, `record` its value of `SOCKETS`, both checked for null.
#[inline(always)]
pub unsafe fn look<const EGRESS: bool>(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    record: *mut SocketRecord,
) {
    // SAFETY: points into a static; volatile, because the loader changes it.
    let wanted = unsafe { ptr::read_volatile(&raw const DNS_WANTED) };
    // SAFETY: the caller's promise.
    if wanted == NEVER || unsafe { (*sk).protocol } != u32::from(UDP) {
        return;
    }
    // SAFETY: the caller's promise.
    let (local, connected) = unsafe { ((*sk).src_port as u16, u16::from_be((*sk).dst_port)) };
    let remote = if connected != 0 {
        connected
    } else {
        let [source, destination] = ports(ctx);
        u16::from_be(if EGRESS { destination } else { source })
    };
    if (remote == PORT || local == PORT) && (wanted == ALWAYS || told()) {
        // SAFETY: the caller's promise.
        unsafe { take::<EGRESS>(ctx, sk, record, local, remote) };
    }
}

/// Source and destination port of a UDP packet, network order; zeros when there is none.
#[inline(always)]
fn ports(ctx: &SkBuffContext) -> [u16; 2] {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the program's context.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if data + V6_PORTS + 4 <= end {
        // SAFETY: so many bytes are there.
        unsafe {
            let first = *(data as *const u8);
            if first == 0x45 {
                return *((data + V4_PORTS) as *const [u16; 2]);
            }
            if first >> 4 == 6 && *((data + 6) as *const u8) == UDP {
                return *((data + V6_PORTS) as *const [u16; 2]);
            }
        }
    }
    headers(ctx)
        .and_then(|length| ctx.load((length as usize).wrapping_sub(8)).ok())
        .unwrap_or([0; 2])
}

#[inline(always)]
unsafe fn take<const EGRESS: bool>(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    record: *mut SocketRecord,
    local_port: u16,
    remote_port: u16,
) {
    let Some(headers) = headers(ctx) else { return };
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    if local_port == PORT {
        // With port 53 on both ends, the message says which of them asks.
        let flags: u8 = ctx.load(headers as usize + FLAGS).unwrap_or_default();
        let is_response = flags & RESPONSE != 0;
        if remote_port != PORT || is_response == EGRESS {
            // SAFETY: the caller's promise.
            unsafe { serves(record) };
            return;
        }
    }
    // SAFETY: the program's context.
    let (length, gso_size) = unsafe { ((*skb).len.saturating_sub(headers), (*skb).gso_size) };
    if gso_size != 0 && length > gso_size {
        count(
            counters::DNS_MESSAGES,
            u64::from(length.div_ceil(gso_size) - 1),
        );
    }
    let Some(mut row) = DNS.reserve(0) else {
        count(counters::DNS_MESSAGES, 1);
        return;
    };
    let row_at: *mut DnsRow = row.as_mut_ptr();
    // SAFETY: the reserved row is large enough; the rest is the caller's promise.
    unsafe {
        (*row_at).at_ns = bpf_ktime_get_boot_ns();
        (*row_at).cookie = bpf_get_socket_cookie(ctx.as_ptr());
        words::copy(&raw const (*record).owner, &raw mut (*row_at).owner);
        words::copy(&raw const (*record).comm, &raw mut (*row_at).comm);
        (*row_at).length = length;
        (*row_at).local_port = local_port;
        (*row_at).remote_port = remote_port;
        (*row_at).kind = if EGRESS { SENT } else { RECEIVED };
        (*row_at).reserved = 0;
        addresses::<EGRESS>(ctx, sk, row_at);
        // Read back, or the compiler knows the lower bound and leaves the check out that
        // the verifier wants to see; which before 6.2 learns nothing from `!= 0`.
        let length = ptr::read_volatile(&raw const (*row_at).length);
        if length >= HEADER {
            let kept = if length > KEPT as u32 {
                KEPT as u32
            } else {
                length
            };
            let to = (&raw mut (*row_at).message).cast();
            if bpf_skb_load_bytes(ctx.as_ptr(), headers, to, kept) != 0 {
                (*row_at).length = 0;
            }
        }
    }
    row.submit(wakeup());
}

/// A field of a `struct bpf_sock`, at a constant offset: the verifier allows no other,
/// and the compiler would compute one where two branches read alike.
macro_rules! field {
    ($sk:ident, $($field:tt)*) => {
        (&raw const (*$sk).$($field)*).read_volatile()
    };
}

/// Writes the row's addresses.
#[inline(always)]
unsafe fn addresses<const EGRESS: bool>(ctx: &SkBuffContext, sk: *mut bpf_sock, row: *mut DnsRow) {
    // SAFETY: the caller's promise.
    unsafe {
        words::clear(&raw mut (*row).local);
        words::clear(&raw mut (*row).remote);
        if (*sk).dst_port != 0 {
            if (*sk).family as u16 == AF_INET6 {
                (*row).family = AF_INET6;
                for word in 0..4 {
                    (&raw mut (*row).local)
                        .cast::<u32>()
                        .add(word)
                        .write_volatile(field!(sk, src_ip6[word]));
                    (&raw mut (*row).remote)
                        .cast::<u32>()
                        .add(word)
                        .write_volatile(field!(sk, dst_ip6[word]));
                }
            } else {
                (*row).family = AF_INET;
                (&raw mut (*row).local)
                    .cast::<u32>()
                    .write_volatile(field!(sk, src_ip4));
                (&raw mut (*row).remote)
                    .cast::<u32>()
                    .write_volatile(field!(sk, dst_ip4));
            }
            return;
        }
        let local = (&raw mut (*row).local).cast();
        let remote = (&raw mut (*row).remote).cast();
        let (source, destination) = if EGRESS {
            (local, remote)
        } else {
            (remote, local)
        };
        let first: u8 = ctx.load(0).unwrap_or_default();
        if first >> 4 == 4 {
            (*row).family = AF_INET;
            bpf_skb_load_bytes(ctx.as_ptr(), V4_ADDRESSES, source, 4);
            bpf_skb_load_bytes(ctx.as_ptr(), V4_ADDRESSES + 4, destination, 4);
        } else {
            (*row).family = AF_INET6;
            bpf_skb_load_bytes(ctx.as_ptr(), V6_ADDRESSES, source, 16);
            bpf_skb_load_bytes(ctx.as_ptr(), V6_ADDRESSES + 16, destination, 16);
        }
    }
}

/// Readings take the messages; the feed's thread before there is no room, and while
/// someone listens: then it is woken if it has read everything before.
#[inline(always)]
fn wakeup() -> u64 {
    let ring = (&raw const DNS).cast_mut().cast();
    // SAFETY: a ring buffer.
    let (used, size) = unsafe {
        (
            bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()),
            bpf_ringbuf_query(ring, BPF_RB_RING_SIZE.into()),
        )
    };
    u64::from(if used > size / 4 {
        BPF_RB_FORCE_WAKEUP
    } else if told() {
        0
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Reports, once, that the owner of a socket serves DNS.
#[inline(always)]
unsafe fn serves(record: *mut SocketRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*record).serves_dns != 0 {
            return;
        }
        // With no room now, the next message tries again.
        let Some(mut row) = DNS.reserve(0) else {
            return;
        };
        (*record).serves_dns = 1;
        let row_at: *mut DnsRow = row.as_mut_ptr();
        words::copy(&raw const (*record).owner, &raw mut (*row_at).owner);
        (*row_at).kind = SERVES;
        row.submit(wakeup());
    }
}
