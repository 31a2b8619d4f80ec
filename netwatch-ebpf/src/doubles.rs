//! Doubles of the programs that count calls, for kernels that preempt programs.
//!
//! The kernel skips a run of a program while another task is preempted inside the same
//! program on that CPU. Its double on the same hook runs, sees that the program has not,
//! and does its work. A thread runs both one after the other, so what the program notes
//! of the thread is about the same call. It notes which program it is: where a double was
//! skipped the note stays, and is none for the doubles of others.
//!
//! A task can be preempted inside a double too, and then both are skipped. Not so in a
//! classic program on a tracepoint: the kernel turns preemption off around it. Where it can
//! be attached it is the double.
//!
//! The kernel also leaves out the programs on the return of a function for calls that are in
//! it while another tracer comes or goes there (`bpf_tramp_image_put`), and counts nothing. A
//! double on a tracepoint makes up for that too.
//!
//! Programs on a tracepoint run in the order in which they were attached, those on the
//! return of a function in the opposite one (`func_add` in `kernel/tracepoint.c`,
//! `bpf_trampoline_add_prog` in `kernel/bpf/trampoline.c`).
//!
//! | hook | as |
//! |---|---|
//! | tracepoint `sock_send_length`, `sock_recv_length` | `payload` or `fexit` |
//! | tp_btf `sock_send_length`, `sock_recv_length` | `payload` or `fexit` |
//! | tp_btf `tcp_rcv_space_adjust` | `payload` |
//! | fexit `inet_sendmsg`, `inet_recvmsg`, `inet6_sendmsg`, `inet6_recvmsg` | `fexit` |
//!
//! Writes `NOTED`, `OWED` and what those files write.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`, where the loader
//! was made to attach them): 42 to 48 ns, and 55 ns more in each program that has one.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    macros::{btf_tracepoint, fexit, tracepoint},
    programs::{BtfTracePointContext, FExitContext, TracePointContext},
};
use netwatch_common::{counters, process::ProcessKey, socket::SocketRecord};

use crate::{
    atomic, fexit,
    kernel::{AF_INET6, CallEvent, IPPROTO_TCP, Sock, Task},
    maps::{NOTED, OWED, Owed, count, seeded},
    payload::{self, MSG_ERRQUEUE, MSG_PEEK},
    processes,
    store::{self, in_table},
};

/// 0 when there are no doubles, else what they are of: 1 programs on tracepoints, 2 those on
/// functions too. Patched before the programs are loaded.
#[unsafe(no_mangle)]
static DOUBLED: u32 = 0;
const OF_FUNCTIONS: u32 = 2;

#[inline(always)]
fn doubled() -> u32 {
    // SAFETY: a static; volatile, because the loader changes it.
    unsafe { ptr::read_volatile(&raw const DOUBLED) }
}

/// Whether there are any.
#[inline(always)]
pub fn are_here() -> bool {
    doubled() != 0
}

/// Does the work of a program. Where the thread cannot be noted, its double does.
#[inline(always)]
pub fn first<const RECOVERED: u32>(work: impl FnOnce()) {
    if doubled() == 0 {
        work();
        return;
    }
    let thread = bpf_get_current_pid_tgid();
    let note = NOTED.get_ptr_mut(thread).or_else(|| {
        let _ = NOTED.insert(thread, 0, BPF_ANY.into());
        NOTED.get_ptr_mut(thread)
    });
    let Some(note) = note else {
        count(RECOVERED, u64::MAX);
        return;
    };
    work();
    // SAFETY: a map value, checked for null.
    unsafe { ptr::write_volatile(note, RECOVERED.into()) };
}

/// Does the same work, unless the program has.
#[inline(always)]
fn again<const RECOVERED: u32>(work: impl FnOnce()) {
    if noted(RECOVERED, RECOVERED) {
        return;
    }
    work();
    count(RECOVERED, 1);
}

/// The same of a call, where there may be two programs on functions, one for each family.
#[inline(always)]
fn again_on_tracepoint<const RECOVERED: u32, const RECOVERED_V6: u32>(
    sk: Sock<false>,
    work: impl FnOnce(),
) {
    if noted(RECOVERED, RECOVERED_V6) {
        return;
    }
    work();
    recovered::<RECOVERED, RECOVERED_V6, false>(sk);
}

/// Counts a call whose program did not run.
#[inline(always)]
fn recovered<const RECOVERED: u32, const RECOVERED_V6: u32, const PROBE: bool>(sk: Sock<PROBE>) {
    if doubled() != OF_FUNCTIONS {
        count(RECOVERED, 1);
    } else if sk.family() == AF_INET6 {
        count(RECOVERED_V6, 1);
    } else if sk.is_inet() {
        count(RECOVERED, 1);
    }
}

/// Whether one of two programs has done the work of this call.
#[inline(always)]
fn noted(one: u32, other: u32) -> bool {
    let Some(note) = NOTED.get_ptr_mut(bpf_get_current_pid_tgid()) else {
        return false;
    };
    // SAFETY: a map value, checked for null.
    unsafe {
        let program = ptr::read_volatile(note);
        let done = program == u64::from(one) || program == u64::from(other);
        if done {
            ptr::write_volatile(note, 0);
        }
        done
    }
}

/// The same in a program that no task is preempted inside. It has no pointer to the socket
/// that the verifier knows, and so none to a record in it.
#[inline(always)]
fn always<const RECOVERED: u32, const RECOVERED_V6: u32>(event: CallEvent, is_receive: bool) {
    if noted(RECOVERED, RECOVERED_V6) {
        return;
    }
    let (sk, result, flags) = (event.sk(), event.result(), event.flags());
    recovered::<RECOVERED, RECOVERED_V6, true>(sk);
    // Before, the loader does not know yet that it runs after the program.
    if result <= 0 || !seeded() {
        return;
    }
    if in_table() {
        if is_receive {
            payload::received(sk, result, flags);
        } else {
            payload::sent(sk, result);
        }
        return;
    }
    if !sk.is_inet() {
        return;
    }
    let moved = result as u64;
    if !is_receive {
        owe(sk, moved, 0);
    } else if flags & (MSG_PEEK | MSG_ERRQUEUE) == 0
        && sk.tcp().is_none_or(|tcp| sk.has_other_reader(tcp))
    {
        owe(sk, 0, moved);
    }
}

/// Keeps what the running process moved on a socket until its record can have it.
#[inline(always)]
fn owe(sk: Sock<true>, tx: u64, rx: u64) {
    let leader = Task::<true>::current().leader();
    let key = processes::current_key(leader);
    let address = store::address(sk.0);
    let owed = OWED.get_ptr_mut(address).or_else(|| {
        let new = Owed {
            key,
            comm: leader.comm(),
            // SAFETY: always allowed in process context.
            cgroup_id: unsafe { bpf_get_current_cgroup_id() },
            tx: 0,
            rx: 0,
            shared_tx: 0,
            shared_rx: 0,
        };
        let _ = OWED.insert(address, new, BPF_NOEXIST.into());
        OWED.get_ptr_mut(address)
    });
    let end_is_seen = payload::ends_are_seen() || sk.protocol() == IPPROTO_TCP;
    // SAFETY: map values, checked for null.
    unsafe {
        if let Some(owed) = owed
            && end_is_seen
            && (*owed).key.start_ns == key.start_ns
            && (*owed).key.tgid == key.tgid
        {
            atomic::add(&raw mut (*owed).tx, tx);
            atomic::add(&raw mut (*owed).rx, rx);
            return;
        }
        if let Some(owed) = owed {
            atomic::add(&raw mut (*owed).shared_tx, tx);
            atomic::add(&raw mut (*owed).shared_rx, rx);
        } else {
            count(counters::UNTRACKED_CALLS, 1);
        }
    }
    processes::add_payload(processes::current(&key, leader), tx, rx);
}

/// Whether there is anything in `OWED`.
#[inline(always)]
fn owes() -> bool {
    are_here() && !in_table()
}

/// Gives a record what it lacks.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn settle(sk: *mut c_void, record: *mut SocketRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        give(sk, record, |owner, key| {
            store::claim::<false>(sk, owner, key)
        });
    };
}

/// The same once nobody can use the socket or look for its owner any more.
///
/// # Safety
///
/// As for [`settle`].
#[inline(always)]
pub unsafe fn settle_last(sk: *mut c_void, record: *mut SocketRecord) {
    // SAFETY: the caller's promise.
    unsafe {
        give(sk, record, |owner, key| {
            let is_free = (*owner).start_ns == 0;
            if is_free {
                *owner = *key;
            }
            is_free
        });
    }
}

/// # Safety
///
/// As for [`settle`].
#[inline(always)]
unsafe fn give(
    sk: *mut c_void,
    record: *mut SocketRecord,
    claim: impl FnOnce(*mut ProcessKey, &ProcessKey) -> bool,
) {
    if !owes() {
        return;
    }
    let Some(owed) = OWED.get_ptr_mut(store::address(sk)) else {
        return;
    };
    // SAFETY: map values, checked for null, and the caller's promise.
    unsafe {
        let (key, comm, cgroup_id) = ((*owed).key, (*owed).comm, (*owed).cgroup_id);
        let tx = take(&raw mut (*owed).tx);
        let rx = take(&raw mut (*owed).rx);
        let owner = &raw mut (*record).owner;
        // Its first call was one that the program was skipped for.
        if tx | rx != 0 && (*owner).start_ns == 0 && claim(owner, &key) {
            (*record).comm = comm;
            processes::entry(&key, &comm, cgroup_id);
        }
        if (*owner).start_ns == key.start_ns && (*owner).tgid == key.tgid {
            atomic::add(&raw mut (*record).tx_bytes, tx);
            atomic::add(&raw mut (*record).rx_bytes, rx);
        } else if tx | rx != 0 {
            atomic::add(&raw mut (*record).shared_tx_bytes, tx);
            atomic::add(&raw mut (*record).shared_rx_bytes, rx);
            processes::add_payload(processes::entry(&key, &comm, cgroup_id), tx, rx);
        }
        let shared_tx = take(&raw mut (*owed).shared_tx);
        let shared_rx = take(&raw mut (*owed).shared_rx);
        atomic::add(&raw mut (*record).shared_tx_bytes, shared_tx);
        atomic::add(&raw mut (*record).shared_rx_bytes, shared_rx);
    }
}

/// Whether a record lacks what was sent.
#[inline(always)]
pub fn lacks_sent(sk: *mut c_void) -> bool {
    if !owes() {
        return false;
    }
    let owed = OWED.get_ptr(store::address(sk));
    // SAFETY: a map value, checked for null.
    owed.is_some_and(|owed| unsafe { (*owed).tx | (*owed).shared_tx } != 0)
}

/// A socket has ended.
#[inline(always)]
pub fn forget(sk: *mut c_void) {
    if owes() {
        let _ = OWED.remove(store::address(sk));
    }
}

/// Takes all there is; more may come meanwhile.
///
/// # Safety
///
/// As for [`atomic::add`].
#[inline(always)]
unsafe fn take(counter: *mut u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let all = ptr::read_volatile(counter);
        atomic::add(counter, all.wrapping_neg());
        all
    }
}

/// A thread ends.
#[inline(always)]
pub fn forget_thread() {
    if doubled() != 0 {
        let _ = NOTED.remove(bpf_get_current_pid_tgid());
    }
}

/// The double of `sock_send_length`, where it can be attached.
#[tracepoint]
pub fn sock_send_length_always(ctx: TracePointContext) -> u32 {
    always::<{ counters::RECOVERED_SENDS }, { counters::RECOVERED_SENDS_V6 }>(
        CallEvent(ctx.as_ptr()),
        false,
    );
    0
}

/// The double of `sock_recv_length`, where it can be attached.
#[tracepoint]
pub fn sock_recv_length_always(ctx: TracePointContext) -> u32 {
    always::<{ counters::RECOVERED_RECEIVES }, { counters::RECOVERED_RECEIVES_V6 }>(
        CallEvent(ctx.as_ptr()),
        true,
    );
    0
}

/// The double of `sock_send_length`, else.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_again(ctx: BtfTracePointContext) -> i32 {
    let sk: Sock<false> = Sock(ctx.arg(0));
    again_on_tracepoint::<{ counters::RECOVERED_SENDS }, { counters::RECOVERED_SENDS_V6 }>(
        sk,
        || {
            payload::sent(sk, ctx.arg(1));
        },
    );
    0
}

/// The double of `sock_recv_length`, else.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_again(ctx: BtfTracePointContext) -> i32 {
    let sk: Sock<false> = Sock(ctx.arg(0));
    again_on_tracepoint::<{ counters::RECOVERED_RECEIVES }, { counters::RECOVERED_RECEIVES_V6 }>(
        sk,
        || payload::received(sk, ctx.arg(1), ctx.arg(2)),
    );
    0
}

/// The double of `tcp_rcv_space_adjust`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust_again(ctx: BtfTracePointContext) -> i32 {
    again::<{ counters::RECOVERED_READS }>(|| payload::read_stream::<false>(Sock(ctx.arg(0))));
    0
}

/// The double of `tcp_rcv_space_adjust_table`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust_table_again(ctx: BtfTracePointContext) -> i32 {
    again::<{ counters::RECOVERED_READS }>(|| payload::read_stream::<true>(Sock(ctx.arg(0))));
    0
}

/// The double of `inet_sendmsg`, where the kernel has no such tracepoint.
#[fexit(function = "inet_sendmsg")]
pub fn inet_sendmsg_again(ctx: FExitContext) -> i32 {
    again::<{ counters::RECOVERED_SENDS }>(|| fexit::sent(&ctx));
    0
}

/// The double of `inet_recvmsg`.
#[fexit(function = "inet_recvmsg")]
pub fn inet_recvmsg_again(ctx: FExitContext) -> i32 {
    again::<{ counters::RECOVERED_RECEIVES }>(|| fexit::received(&ctx));
    0
}

/// The double of `inet6_sendmsg`.
#[fexit(function = "inet6_sendmsg")]
pub fn inet6_sendmsg_again(ctx: FExitContext) -> i32 {
    again::<{ counters::RECOVERED_SENDS_V6 }>(|| fexit::sent(&ctx));
    0
}

/// The double of `inet6_recvmsg`.
#[fexit(function = "inet6_recvmsg")]
pub fn inet6_recvmsg_again(ctx: FExitContext) -> i32 {
    again::<{ counters::RECOVERED_RECEIVES_V6 }>(|| fexit::received(&ctx));
    0
}
