//! Second programs on the hooks that count calls, for kernels that preempt programs.
//!
//! The kernel skips a run of a program while another task is preempted inside the same
//! program on that CPU. A second program on the hook is not the same one: it runs, sees
//! that the first has not, and does its work. A thread runs both one after the other, so
//! what the first notes of the thread is about the same call.
//!
//! Programs on a tracepoint run in the order in which they were attached, those on the
//! return of a function in the opposite one (`func_add` in `kernel/tracepoint.c`,
//! `bpf_trampoline_add_prog` in `kernel/bpf/trampoline.c`).
//!
//! | hook | as |
//! |---|---|
//! | tp_btf `sock_send_length`, `sock_recv_length`, `tcp_rcv_space_adjust` | `payload` |
//! | fexit `inet_sendmsg`, `inet_recvmsg`, `inet6_sendmsg`, `inet6_recvmsg` | `fexit` |
//!
//! Writes `NOTED` and what those files write.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`, where the loader
//! was made to attach them): 42 to 48 ns, and 55 ns more in each first program.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fexit, tracepoint},
    programs::{BtfTracePointContext, FExitContext, TracePointContext},
};
use netwatch_common::{counters, socket::SocketRecord};

use crate::{
    atomic, fexit,
    kernel::{CallEvent, Sock, Task},
    maps::{NOTED, OWED, Owed, count, counter, seeded},
    payload::{self, MSG_ERRQUEUE, MSG_PEEK},
    processes, store,
};

/// 1 when these programs are attached. Patched before the programs are loaded.
#[unsafe(no_mangle)]
static BACKED_UP: u32 = 0;

#[inline(always)]
fn is_there() -> bool {
    // SAFETY: a static; volatile, because the loader changes it.
    unsafe { ptr::read_volatile(&raw const BACKED_UP) != 0 }
}

/// Does the work of a first program. Where the thread cannot be noted, the second does.
#[inline(always)]
pub fn first(work: impl FnOnce()) {
    if !is_there() {
        work();
        return;
    }
    let thread = bpf_get_current_pid_tgid();
    let note = NOTED.get_ptr_mut(thread).or_else(|| {
        let _ = NOTED.insert(thread, 0, BPF_ANY.into());
        NOTED.get_ptr_mut(thread)
    });
    let Some(note) = note else {
        count(counters::MADE_GOOD, u64::MAX);
        return;
    };
    work();
    // SAFETY: a map value, checked for null.
    unsafe { ptr::write_volatile(note, 1) };
}

/// Does the same work, unless the first program has.
#[inline(always)]
fn second(work: impl FnOnce()) {
    if noted() {
        return;
    }
    work();
    count(counters::MADE_GOOD, 1);
}

/// Whether the first program has done the work of this call.
#[inline(always)]
fn noted() -> bool {
    let Some(note) = NOTED.get_ptr_mut(bpf_get_current_pid_tgid()) else {
        return false;
    };
    // SAFETY: a map value, checked for null.
    unsafe {
        let done = ptr::read_volatile(note) != 0;
        if done {
            ptr::write_volatile(note, 0);
        }
        done
    }
}

/// The same in a program that no task is preempted inside, so that it always runs. It has
/// no pointer to the socket that the verifier knows, and so none to its record.
#[inline(always)]
fn always(event: CallEvent, is_receive: bool) {
    if noted() {
        return;
    }
    count(counters::MADE_GOOD, 1);
    let (sk, result) = (event.sk(), event.result());
    // Before, the loader does not know yet that it runs after the first program.
    if result <= 0 || !sk.is_inet() || !seeded() {
        return;
    }
    let moved = result as u64;
    let (tx, rx) = if is_receive {
        if event.flags() & (MSG_PEEK | MSG_ERRQUEUE) != 0
            || sk.tcp().is_some_and(|tcp| !sk.has_other_reader(tcp))
        {
            return;
        }
        (0, moved)
    } else {
        (moved, 0)
    };
    let leader = Task::<true>::current().leader();
    let key = processes::current_key(leader);
    processes::add_payload(processes::current(&key, leader), tx, rx);
    let address = store::address(sk.0);
    let owed = OWED.get_ptr_mut(address).or_else(|| {
        let _ = OWED.insert(address, Owed { tx: 0, rx: 0 }, BPF_NOEXIST.into());
        OWED.get_ptr_mut(address)
    });
    if let Some(owed) = owed {
        // SAFETY: a map value, checked for null.
        unsafe {
            atomic::add(&raw mut (*owed).tx, tx);
            atomic::add(&raw mut (*owed).rx, rx);
        }
    } else {
        count(counters::UNTRACKED_CALLS, 1);
    }
}

/// Gives a record what it lacks.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn settle<const AT_END: bool>(sk: *mut c_void, record: *mut SocketRecord) {
    if !is_there() || counter(counters::MADE_GOOD) == 0 {
        return;
    }
    let address = store::address(sk);
    let Some(owed) = OWED.get_ptr_mut(address) else {
        return;
    };
    // SAFETY: a map value, checked for null, and the caller's promise.
    unsafe {
        // More may come meanwhile.
        let Owed { tx, rx } = owed.read_volatile();
        atomic::add(&raw mut (*owed).tx, tx.wrapping_neg());
        atomic::add(&raw mut (*owed).rx, rx.wrapping_neg());
        atomic::add(&raw mut (*record).shared_tx_bytes, tx);
        atomic::add(&raw mut (*record).shared_rx_bytes, rx);
    }
    if AT_END {
        let _ = OWED.remove(address);
    }
}

/// A thread ends.
#[inline(always)]
pub fn forget_thread() {
    if is_there() {
        let _ = NOTED.remove(bpf_get_current_pid_tgid());
    }
}

/// After `sock_send_length`, where it can be attached.
#[tracepoint]
pub fn always_sent(ctx: TracePointContext) -> u32 {
    always(CallEvent(ctx.as_ptr()), false);
    0
}

/// After `sock_recv_length`, likewise.
#[tracepoint]
pub fn always_received(ctx: TracePointContext) -> u32 {
    always(CallEvent(ctx.as_ptr()), true);
    0
}

/// After `sock_send_length`, else.
#[btf_tracepoint(function = "sock_send_length")]
pub fn backup_send_length(ctx: BtfTracePointContext) -> i32 {
    second(|| payload::sent(Sock(ctx.arg(0)), ctx.arg(1)));
    0
}

/// After `sock_recv_length`, else.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn backup_recv_length(ctx: BtfTracePointContext) -> i32 {
    second(|| payload::received(Sock(ctx.arg(0)), ctx.arg(1), ctx.arg(2)));
    0
}

/// After `tcp_rcv_space_adjust`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn backup_read(ctx: BtfTracePointContext) -> i32 {
    second(|| payload::read_stream::<false>(Sock(ctx.arg(0))));
    0
}

/// After `tcp_rcv_space_adjust_table`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn backup_read_table(ctx: BtfTracePointContext) -> i32 {
    second(|| payload::read_stream::<true>(Sock(ctx.arg(0))));
    0
}

/// After `inet_sendmsg`.
#[fexit(function = "inet_sendmsg")]
pub fn backup_sendmsg(ctx: FExitContext) -> i32 {
    second(|| fexit::sent(&ctx));
    0
}

/// After `inet_recvmsg`.
#[fexit(function = "inet_recvmsg")]
pub fn backup_recvmsg(ctx: FExitContext) -> i32 {
    second(|| fexit::received(&ctx));
    0
}

/// After `inet6_sendmsg`.
#[fexit(function = "inet6_sendmsg")]
pub fn backup6_sendmsg(ctx: FExitContext) -> i32 {
    second(|| fexit::sent(&ctx));
    0
}

/// After `inet6_recvmsg`.
#[fexit(function = "inet6_recvmsg")]
pub fn backup6_recvmsg(ctx: FExitContext) -> i32 {
    second(|| fexit::received(&ctx));
    0
}
