//! Payload bytes by kprobes, for kernels without the tracepoints of `payload`.
//!
//! | hook | kernel prototype | what it tells |
//! |---|---|---|
//! | kprobe `release_sock` | `(struct sock *sk)` | what was written to a TCP stream |
//! | kprobe `skb_consume_udp` | `(struct sock *sk, struct sk_buff *skb, int len)` | what a UDP receive call returns |
//! | kprobe and kretprobe `udp_sendmsg`, … | `(struct sock *sk, …)` | what other calls return |
//!
//! No probe sits on the return of a TCP call. A kernel has memory for few returns at a
//! time (twice its processors, before Linux 5.14 one for each), so some blocked senders
//! would hide all others. Instead, what a stream was given is the way of `write_seq`
//! while a process held the socket's lock, whatever call it made: `release_sock` is where
//! each gives it back. `skb_consume_udp` gets a UDP call's result, negative for a peek.
//! Only calls that rarely wait have a probe on their return; `CALLS` keeps their socket,
//! and a return that the kernel missed is counted.
//!
//! Received TCP bytes come from `payload`. Writes `SOCKET_TABLE`, `PROCESSES`, `CALLS`,
//! `COUNTERS`. Cost: the host of the other figures has no kprobes.

use core::{ffi::c_void, hint::black_box, ptr};

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use netwatch_common::{
    counters,
    socket::{FLAG_OUTGOING, FLAG_WRITTEN, SocketRecord},
};

use crate::{
    kernel::{
        AF_INET6, Sock, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYN_SENT, Task, Tcp,
        file_data, socket_of,
    },
    maps::{CALLS, Call, count, seeded},
    payload::{self, MSG_ERRQUEUE, MSG_PEEK},
    store,
};

/// Which argument of `recvmsg` functions has the flags: 3, or 4 before Linux 5.19. The
/// loader looks at the kernel's BTF.
#[unsafe(no_mangle)]
static RECEIVE_FLAGS: u32 = 3;

/// A process gives a socket's lock back.
#[kprobe]
pub fn release_sock(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        let sk: Sock<true> = Sock(sk);
        if let Some(tcp) = sk.tcp() {
            written(sk, tcp);
        }
    }
    0
}

#[inline(always)]
fn written(sk: Sock<true>, tcp: Tcp<true>) {
    // SAFETY: with the table, any pointer.
    let record = match unsafe { store::find(sk.0) } {
        Some(record) => record,
        None if !sk.is_inet() => return,
        // SAFETY: as above.
        None => match unsafe { store::find_or_make(sk.0) } {
            Some(record) => record,
            None => {
                count(counters::UNTRACKED_CALLS, 1);
                return;
            }
        },
    };
    // SAFETY: a map value, checked for null.
    unsafe {
        let sent = unaccounted(sk, tcp, record, sk.state());
        if sent != 0 && !is_redirected(sk) {
            payload::credit::<true>(sk.0, record, sent, 0, true);
        }
    }
}

/// Whether a sockmap's program redirected here what the running thread sends by another
/// socket, or what the kernel received by one.
#[inline(always)]
fn is_redirected(sk: Sock<true>) -> bool {
    if sk.psock().is_null() {
        return false;
    }
    // SAFETY: only this thread writes its entry.
    let call = unsafe { CALLS.get(bpf_get_current_pid_tgid()) };
    call.is_some_and(|call| call.sk != sk.0 as u64) || Task::<true>::current().is_kernel_thread()
}

/// What was written to the stream since the last time; from now on it is accounted for.
///
/// # Safety
///
/// `record` is the record of `sk`, checked for null; the socket is locked.
#[inline(always)]
pub unsafe fn unaccounted<const PROBE: bool>(
    sk: Sock<PROBE>,
    tcp: Tcp<PROBE>,
    record: *mut SocketRecord,
    state: u8,
) -> u64 {
    if !tcp.has_begun(state) {
        // SAFETY: the caller's promise; the socket's lock orders all writers.
        unsafe { (*record).flags &= !FLAG_WRITTEN };
        return 0;
    }
    // A FIN has a sequence number too.
    let fin = match state {
        TCP_ESTABLISHED | TCP_SYN_SENT | TCP_SYN_RECV | TCP_CLOSE_WAIT => 0,
        _ => 1,
    };
    let now = tcp.write_seq().wrapping_sub(fin);
    // SAFETY: as above.
    let sent = unsafe {
        let is_known = (*record).flags & FLAG_WRITTEN != 0;
        let before = (*record).written_seq;
        if is_known && before == now {
            return 0;
        }
        (*record).written_seq = now;
        let since = u64::from(now.wrapping_sub(before));
        // More than the whole stream: the number was another's, whose end was not seen.
        if is_known && since <= tcp.written() {
            since
        } else {
            (*record).flags |= FLAG_WRITTEN;
            let syn = u64::from((*record).flags & FLAG_OUTGOING != 0);
            if seeded() && !sk.is_kernel() {
                tcp.written().wrapping_sub(u64::from(fin)).wrapping_sub(syn)
            } else {
                0
            }
        }
    };
    if sent == 0 || sk.has_other_writer(tcp) || tcp.is_repaired() {
        return 0;
    }
    sent
}

/// A UDP receive call is about to return `len`.
#[kprobe]
pub fn skb_consume_udp(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(length)) = (ctx.arg(0), ctx.arg::<i32>(2))
        && length > 0
    {
        // SAFETY: with the table, any pointer.
        unsafe { payload::add::<true, true>(Sock(sk), 0, length as u64) };
    }
    0
}

/// A send function that no other one calls.
#[kprobe]
pub fn send_call(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        begin(Sock(sk), 0);
    }
    0
}

/// `udp_sendmsg`. For an IPv6 socket, `udpv6_sendmsg` has called it.
#[kprobe]
pub fn udp_send_call(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        let sk: Sock<true> = Sock(sk);
        if sk.family() != AF_INET6 {
            begin(sk, 0);
        }
    }
    0
}

/// `ip_append_page`, before Linux 6.5: a page for a UDP socket. Its result is no length.
#[kprobe]
pub fn page_call(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(length)) = (ctx.arg(0), ctx.arg::<u64>(4)) {
        begin(Sock(sk), length as u32);
    }
    0
}

/// A receive function that no other one calls.
#[kprobe]
pub fn receive_call(ctx: ProbeContext) -> u32 {
    // Both are read: the verifier wants no choice between places in the context.
    let (third, fourth) = (ctx.arg::<u64>(3), black_box(ctx.arg::<u64>(4)));
    // SAFETY: a static; volatile, because the loader changes it.
    let flags = if unsafe { ptr::read_volatile(&raw const RECEIVE_FLAGS) } == 3 {
        third
    } else {
        fourth
    };
    let flags = flags.map(|flags| flags as i32);
    if let (Some(sk), Some(flags)) = (ctx.arg(0), flags)
        && flags & (MSG_PEEK | MSG_ERRQUEUE) == 0
    {
        begin(Sock(sk), 0);
    }
    0
}

/// `__sk_msg_recvmsg`, `sk_msg_recvmsg` or `__tcp_bpf_recvmsg`: a receive call on a socket in a
/// sockmap takes what a program gave to it. It does not wait.
#[kprobe]
pub fn given_call(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(flags)) = (ctx.arg(0), ctx.arg::<i32>(4))
        && flags & MSG_PEEK == 0
    {
        let sk: Sock<true> = Sock(sk);
        // Kernel TLS calls it for a call that is noted.
        if sk.tcp().is_none_or(|tcp| !tcp.ulp()) {
            begin(sk, 0);
        }
    }
    0
}

/// `sock_splice_read`: of a stream that the kernel reads, only the result tells.
#[kprobe]
pub fn splice_call(ctx: ProbeContext) -> u32 {
    if let Some(file) = ctx.arg::<*const c_void>(0) {
        let sk: Sock<true> = socket_of(file_data(file));
        if sk.is_inet()
            && let Some(tcp) = sk.tcp()
            && sk.is_drained(tcp)
        {
            begin(sk, 0);
        }
    }
    0
}

/// A send function returns what it took.
#[kretprobe]
pub fn send_return(ctx: RetProbeContext) -> u32 {
    let taken: i32 = ctx.ret();
    if let Some(call) = end()
        && taken > 0
    {
        // SAFETY: with the table, any pointer.
        unsafe { payload::add::<true, true>(Sock(call.sk as _), taken as u64, 0) };
    }
    0
}

/// `ip_append_page` returns 0 for all, or an error.
#[kretprobe]
pub fn page_return(ctx: RetProbeContext) -> u32 {
    let error: i32 = ctx.ret();
    if let Some(call) = end()
        && error == 0
    {
        // SAFETY: with the table, any pointer.
        unsafe { payload::add::<true, true>(Sock(call.sk as _), call.length, 0) };
    }
    0
}

/// A receive function returns what it gave.
#[kretprobe]
pub fn receive_return(ctx: RetProbeContext) -> u32 {
    let given: i32 = ctx.ret();
    if let Some(call) = end()
        && given > 0
    {
        // SAFETY: with the table, any pointer.
        unsafe { payload::add::<true, true>(Sock(call.sk as _), 0, given as u64) };
    }
    0
}

/// Notes a call of the running thread. One that is still there has returned unseen.
#[inline(always)]
fn begin(sk: Sock<true>, length: u32) {
    if !sk.is_inet() {
        return;
    }
    let thread = bpf_get_current_pid_tgid();
    if CALLS.get_ptr(thread).is_some() {
        count(counters::UNTRACKED_CALLS, 1);
    }
    let call = Call {
        sk: sk.0 as u64,
        length: length.into(),
    };
    if CALLS.insert(thread, call, BPF_ANY.into()).is_err() {
        count(counters::UNTRACKED_CALLS, 1);
    }
}

/// The call that the running thread returns from.
#[inline(always)]
fn end() -> Option<Call> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread writes its entry.
    let call = unsafe { CALLS.get(thread).copied() };
    if call.is_some() {
        let _ = CALLS.remove(thread);
    }
    call
}
