//! Payload bytes, by the process that made the call and by socket.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | tp_btf `sock_send_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//! | tp_btf `sock_recv_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//! | tp_btf `tcp_rcv_space_adjust` | `(struct sock *sk)` | 4.16 |
//!
//! The first two see every send and receive call's return value, in the caller's
//! context. For TCP, received bytes are taken from `copied_seq` instead, in
//! `tcp_rcv_space_adjust`: every way of reading the stream passes there with the
//! socket locked (also splice and `TCP_ZEROCOPY_RECEIVE`, which make no receive
//! call), and a peek does not move it. Writes `SOCKETS`, `PROCESSES`, `COUNTERS`.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`):
//! `sock_send_length` 59 ns, `sock_recv_length` 35 ns (half of them TCP),
//! `tcp_rcv_space_adjust` 73 ns.

use core::{ffi::c_void, ptr};

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use netwatch_common::{
    counters,
    socket::{FLAG_MARKED, SocketRecord},
};

use crate::{
    atomic, doubles, events,
    kernel::{IPPROTO_TCP, Sock, Task, Tcp},
    maps::{count, seeded},
    processes, records,
    store::{self, by_kprobes, in_table},
};

/// 1 when some program will see the end of sockets that are not TCP. The loader sets it
/// to 0 where none does (no cgroup v2): a record then vanishes with its socket, so the
/// bytes go to the process's total at once.
#[unsafe(no_mangle)]
static RELEASE_SEEN: u32 = 1;

#[inline(always)]
pub fn ends_are_seen() -> bool {
    // SAFETY: a static, volatile because the loader changes it.
    unsafe { ptr::read_volatile(&raw const RELEASE_SEEN) != 0 }
}

pub const MSG_PEEK: i32 = 0x2;
pub const MSG_ERRQUEUE: i32 = 0x2000;

/// A send call returned.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_SENDS }>(|| {
        sent(Sock::<false>(ctx.arg(0)), ctx.arg(1));
    });
    0
}

/// A send call returned. Records are in the table unless the verifier knows the type of `sk`.
#[inline(always)]
pub fn sent<const PROBE: bool>(sk: Sock<PROBE>, ret: i32) {
    if ret > 0 && sk.is_inet() {
        // SAFETY: the caller's promise.
        unsafe { add::<PROBE, PROBE>(sk, ret as u64, 0) };
    }
}

/// A receive call returned.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_RECEIVES }>(|| {
        received(Sock::<false>(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    });
    0
}

/// A receive call returned, likewise.
#[inline(always)]
pub fn received<const PROBE: bool>(sk: Sock<PROBE>, ret: i32, flags: i32) {
    if ret <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 || !sk.is_inet() {
        return;
    }
    if sk.protocol() == IPPROTO_TCP
        && let Some(tcp) = sk.tcp()
        && !sk.has_other_reader(tcp)
        // Where the table is full, only the call's own result tells.
        // SAFETY: the caller's promise.
        && (!in_table() || unsafe { store::find_or_make_late(sk.0) }.is_some())
    {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { add::<PROBE, PROBE>(sk, 0, ret as u64) };
}

/// Bytes were read from a TCP stream; the socket is locked.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_READS }>(|| read_stream::<false>(Sock(ctx.arg(0))));
    0
}

/// The same where the kernel has neither socket storage nor typed tasks for it.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust_table(ctx: BtfTracePointContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_READS }>(|| read_stream::<true>(Sock(ctx.arg(0))));
    0
}

/// What was read from a stream since the last time; the socket is locked.
#[inline(always)]
pub fn read_stream<const TABLE: bool>(sk: Sock<false>) {
    let Some(tcp) = sk.tcp() else { return };
    // SAFETY: a tracepoint's socket argument.
    let Some(record) = (unsafe { store::find_or_make_late(sk.0) }) else {
        count(counters::UNTRACKED_CALLS, 1);
        return;
    };
    // SAFETY: a map value, checked for null; the socket is locked.
    let read = unsafe { read_since(sk, tcp, record) };
    if read != 0 {
        // SAFETY: a map value, checked for null.
        unsafe { credit::<TABLE>(sk.0, record, 0, read, true) };
    }
}

/// What was read from a stream since the last time, by calls; from now on it is accounted for.
///
/// # Safety
///
/// `record` is the record of `sk`, checked for null; the socket is locked, or nobody can read
/// any more.
#[inline(always)]
pub unsafe fn read_since<const PROBE: bool>(
    sk: Sock<PROBE>,
    tcp: Tcp<PROBE>,
    record: *mut SocketRecord,
) -> u64 {
    let end = tcp.copied_seq();
    // `splice` at the end of the stream moves it over the FIN, which has a number too.
    let fin = u32::from(sk.has_fin() && end == tcp.rcv_nxt());
    let now = end.wrapping_sub(fin);
    // SAFETY: the caller's promise; the socket's lock orders all writers of `copied_seq`
    // but the seeding iterator, which writes only unmarked records.
    let read = unsafe {
        let read = if (*record).flags & FLAG_MARKED != 0 {
            // Not positive where the mark was set behind the FIN.
            now.wrapping_sub((*record).copied_seq).cast_signed().max(0) as u64
        } else {
            (*record).flags |= FLAG_MARKED;
            if seeded() && !sk.is_kernel() {
                tcp.consumed().wrapping_sub(u64::from(fin))
            } else {
                0
            }
        };
        (*record).copied_seq = now;
        read
    };
    // Kprobes do not see what the call returns.
    let has_other_reader = if by_kprobes() {
        sk.is_drained(tcp)
    } else {
        sk.has_other_reader(tcp)
    };
    if has_other_reader { 0 } else { read }
}

/// Gives what a call moved to the running process.
///
/// # Safety
///
/// As for [`store::find`].
#[inline(always)]
pub unsafe fn add<const TABLE: bool, const PROBE: bool>(sk: Sock<PROBE>, tx: u64, rx: u64) {
    // SAFETY: the caller's promise.
    if let Some(record) = unsafe { store::find_or_make_late(sk.0) } {
        let end_is_seen = ends_are_seen() || sk.protocol() == IPPROTO_TCP;
        // SAFETY: a map value, checked for null.
        unsafe {
            credit::<TABLE>(sk.0, record, tx, rx, end_is_seen);
            if (*record).opened_ns == 0 {
                events::datagram::<TABLE, PROBE>(sk, record, rx != 0);
            }
        }
    } else {
        count(counters::UNTRACKED_CALLS, 1);
        let leader = Task::<TABLE>::current().leader();
        let key = processes::current_key(leader);
        processes::add_payload(processes::current(&key, leader), tx, rx);
    }
}

/// Gives bytes to the running process: in the socket's record when it is the
/// owner and the record's end will be seen, else in the process's own total.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn credit<const TABLE: bool>(
    sk: *mut c_void,
    record: *mut SocketRecord,
    tx: u64,
    rx: u64,
    end_is_seen: bool,
) {
    let leader = Task::<TABLE>::current().leader();
    // SAFETY: the caller's promise.
    unsafe {
        let owner = &raw const (*record).owner;
        if end_is_seen && (*owner).start_ns == leader.start_ns() && (*owner).tgid == leader.tgid() {
            own(record, tx, rx);
            return;
        }
        let key = processes::current_key(leader);
        if records::claim::<TABLE, TABLE>(sk, record, &key, leader) {
            processes::current(&key, leader);
        }
        if end_is_seen && store::owns(sk, owner, &key) {
            own(record, tx, rx);
        } else {
            if tx != 0 {
                atomic::add(&raw mut (*record).shared_tx_bytes, tx);
            }
            if rx != 0 {
                atomic::add(&raw mut (*record).shared_rx_bytes, rx);
            }
            processes::add_payload(processes::current(&key, leader), tx, rx);
        }
    }
}

#[inline(always)]
unsafe fn own(record: *mut SocketRecord, tx: u64, rx: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if tx != 0 {
            atomic::add(&raw mut (*record).tx_bytes, tx);
        }
        if rx != 0 {
            atomic::add(&raw mut (*record).rx_bytes, rx);
        }
    }
}
