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

use core::ptr;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use netwatch_common::counters;

use crate::{
    fexit,
    kernel::Sock,
    maps::{NOTED, count},
    payload,
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
    if let Some(note) = NOTED.get_ptr_mut(bpf_get_current_pid_tgid()) {
        // SAFETY: a map value, checked for null.
        let done = unsafe { ptr::read_volatile(note) } != 0;
        if done {
            // SAFETY: as above.
            unsafe { ptr::write_volatile(note, 0) };
            return;
        }
    }
    work();
    count(counters::MADE_GOOD, 1);
}

/// A thread ends.
#[inline(always)]
pub fn forget_thread() {
    if is_there() {
        let _ = NOTED.remove(bpf_get_current_pid_tgid());
    }
}

/// After `sock_send_length`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn backup_send_length(ctx: BtfTracePointContext) -> i32 {
    second(|| payload::sent(Sock(ctx.arg(0)), ctx.arg(1)));
    0
}

/// After `sock_recv_length`.
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
