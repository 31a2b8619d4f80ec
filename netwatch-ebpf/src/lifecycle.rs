//! The beginning and the end of sockets.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | `cgroup/sock_create` | `(struct bpf_sock *)`, in `socket(2)` | 4.10 |
//! | `cgroup/sock_release` | `(struct bpf_sock *)`, at the last `close(2)` | 5.9 |
//! | `sockops` | `(struct bpf_sock_ops *)` | 4.13 |
//! | tp_btf `inet_sock_set_state` | `(const struct sock *sk, int oldstate, int newstate)` | 4.16 |
//! | tp_btf `tcp_destroy_sock` | `(struct sock *sk)` | 4.16 |
//!
//! A TCP socket goes on after its last `close(2)` until its peer has everything,
//! so its end is `tcp_destroy_sock`; any other socket's is `sock_release`. Its payload is
//! complete at `sock_release`, and is in the process's total from then on.
//!
//! The kernel skips a program that a softirq finds running already. So there are two on
//! each of these tracepoints: the second does what the first was skipped for.
//! Writes `SOCKETS`, `PROCESSES`, `CLOSED`, `COUNTERS`.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`):
//! `sock_create` 788 ns, `sock_release` 378 ns, `inet_sock_set_state` 137 ns and 26 ns,
//! `tcp_destroy_sock` 197 ns and 16 ns: the second is the double, with nothing to do.

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_socket_cookie,
    macros::{btf_tracepoint, cgroup_sock, sock_ops},
    programs::{BtfTracePointContext, SockContext, SockOpsContext},
};
use aya_log_ebpf::{debug, trace};
use netwatch_common::{
    counters,
    socket::{
        FLAG_ENDED, FLAG_FAILED, FLAG_INCOMING, FLAG_LISTENING, FLAG_MARKED, FLAG_OUTGOING,
        SocketRecord,
    },
};

use crate::{
    atomic, doubles, events,
    kernel::{
        IPPROTO_TCP, Sock, TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, Task,
    },
    kprobes,
    maps::count,
    payload, processes, records,
    store::{self, by_kprobes, in_table},
};

const ALLOW: i32 = 1;

const DIRECTIONS: u32 = FLAG_INCOMING | FLAG_OUTGOING | FLAG_LISTENING;

/// A process makes a socket: it owns it.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    let sk = ctx.as_ptr();
    // SAFETY: the program's context is the socket.
    if let Some(record) = unsafe { store::make(sk) } {
        let leader = Task::<false>::current().leader();
        let key = processes::current_key(leader);
        // SAFETY: a map value, checked for null; the helper takes the context.
        unsafe {
            records::claim::<false, false>(sk, record, &key, leader);
            if in_table() && !store::has_cookie(record) {
                bpf_get_socket_cookie(sk);
            }
        }
        processes::current(&key, leader);
        trace!(&ctx, "process {} made a socket", key.tgid);
    }
    ALLOW
}

/// Passive TCP is established: the kernel gives the socket its cookie, before it is first
/// listed. Only where records are in a table: the programs of the others ask for it.
#[sock_ops]
pub fn sock_accept(ctx: SockOpsContext) -> u32 {
    const PASSIVE_ESTABLISHED: u32 = 5;
    if ctx.op() == PASSIVE_ESTABLISHED {
        // SAFETY: the program's context.
        unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    }
    1
}

/// The last file of a socket is closed.
#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    // The context is the `struct sock` itself, but not typed as one.
    let sk: Sock<true> = Sock(ctx.as_ptr());
    // SAFETY: the program's context is the socket; the record is checked for null.
    unsafe {
        if let Some(record) = store::find(ctx.as_ptr()) {
            if sk.protocol() == IPPROTO_TCP {
                make_up(sk, record);
                // Kprobes may yet have to count what was written.
                if !by_kprobes() {
                    records::pay(sk.0, record, sk.cgroup_id());
                }
            } else {
                let header = records::header(sk, ctx.as_ptr(), record);
                records::close(ctx.as_ptr(), header, record);
                store::remove_at_end(ctx.as_ptr());
            }
        }
    }
    ALLOW
}

/// Adds what was read of a stream and not counted, the program on it and its double having
/// been skipped. Only where the kernel preempts them.
///
/// # Safety
///
/// `record` is the record of `sk`, checked for null; nobody can read from it any more.
#[inline(always)]
unsafe fn make_up(sk: Sock<true>, record: *mut SocketRecord) {
    // `connect` to no address takes it, and what had not been read.
    if !doubles::are_here() || sk.remote_port() == 0 {
        return;
    }
    let Some(tcp) = sk.tcp() else { return };
    // SAFETY: the caller's promise.
    unsafe {
        let read = payload::read_since(sk, tcp, record);
        if read == 0 {
            return;
        }
        if (*record).owner.start_ns == 0 {
            // Without a file nobody else can become it.
            let leader = Task::<true>::current().leader();
            (*record).owner = processes::current_key(leader);
            (*record).comm = leader.comm();
        }
        atomic::add(&raw mut (*record).rx_bytes, read);
    }
}

/// A connection changes its state; also one of multipath TCP.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    set_state::<false, false>(&ctx);
    0
}

/// Its double.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_again(ctx: BtfTracePointContext) -> i32 {
    set_state::<false, true>(&ctx);
    0
}

/// The same where records are in the table, also before Linux 5.11.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_table(ctx: BtfTracePointContext) -> i32 {
    set_state::<true, false>(&ctx);
    0
}

/// Its double.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_table_again(ctx: BtfTracePointContext) -> i32 {
    set_state::<true, true>(&ctx);
    0
}

#[inline(always)]
fn set_state<const TABLE: bool, const AGAIN: bool>(ctx: &BtfTracePointContext) {
    let (old, new) = (ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    // The double hardly ever reads a field, and is loaded sooner without types: from Linux 6.3
    // to 6.18 the verifier looks through all of the kernel's for each pointer that is followed.
    let sk: Sock<AGAIN> = Sock(ctx.arg(0));
    let direction = match (old, new) {
        (_, TCP_SYN_SENT) | (TCP_SYN_SENT, TCP_ESTABLISHED) => FLAG_OUTGOING,
        (TCP_SYN_RECV | TCP_LISTEN, TCP_ESTABLISHED) => FLAG_INCOMING,
        (_, TCP_LISTEN) => FLAG_LISTENING,
        _ => 0,
    };
    // SAFETY: a tracepoint's socket argument; the record is checked for null.
    unsafe {
        // A socket that is being accepted has a record from the first, for the double to
        // know its state.
        let record = if !AGAIN && (old, new) == (TCP_LISTEN, TCP_SYN_RECV) {
            store::make(sk.0)
        } else if direction == 0 && new != TCP_SYN_RECV {
            store::find(sk.0)
        } else {
            store::find_or_make(sk.0)
        };
        let record = match record {
            // Left behind at this address, see `store::make`.
            Some(old) if in_table() && direction != 0 && (*old).flags & FLAG_ENDED != 0 => {
                store::make(sk.0)
            }
            record => record,
        };
        let Some(record) = record else { return };
        if AGAIN {
            if (*record).state == new {
                return;
            }
            count(counters::RECOVERED_STATES, 1);
        }
        (*record).state = new;
        (*record).states = (*record).states.wrapping_add(1);
        let mut event = events::NONE;
        if new == TCP_CLOSE {
            if TABLE
                && by_kprobes()
                && let Some(tcp) = sk.tcp()
            {
                // A call that reads of the end while it writes: nearly always the owner's.
                let sent = kprobes::unaccounted(sk, tcp, record, old);
                atomic::add(&raw mut (*record).tx_bytes, sent);
            }
            records::keep_addresses(record, sk);
            event = events::broken(sk, old, record);
        }
        if direction != 0 {
            event = begin::<TABLE, AGAIN>(sk, new, direction, record);
        }
        if event != events::NONE {
            events::tell_state(event, old, sk, record);
        }
    }
}

/// A connection begins, is established, or a socket listens. Returns the kind of event.
///
/// # Safety
///
/// `sk` is a tracepoint's socket argument, `record` its record, checked for null.
#[inline(always)]
unsafe fn begin<const TABLE: bool, const PROBE: bool>(
    sk: Sock<PROBE>,
    new: u8,
    direction: u32,
    record: *mut SocketRecord,
) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let before = (*record).flags;
        // Both sides connected at the same time: it is this host's connection too.
        let direction = if new == TCP_ESTABLISHED && before & FLAG_OUTGOING != 0 {
            FLAG_OUTGOING
        } else {
            direction
        };
        let mut flags = before & !(DIRECTIONS | FLAG_FAILED) | direction;
        if new == TCP_ESTABLISHED {
            if let Some(tcp) = sk.tcp() {
                (*record).copied_seq = tcp.copied_seq();
                flags |= FLAG_MARKED;
            }
            (*record).flags = flags;
            return events::established(record);
        }
        (*record).flags = flags;
        // In the caller of connect or listen.
        if (*record).owner.start_ns == 0 && !sk.is_kernel() {
            let leader = Task::<TABLE>::current().leader();
            let key = processes::current_key(leader);
            records::claim::<TABLE, TABLE>(sk.0, record, &key, leader);
            processes::current(&key, leader);
        }
        if new == TCP_LISTEN {
            events::listening(sk, record);
            events::NONE
        } else {
            events::connecting(record)
        }
    }
}

/// A TCP socket is gone, its last packet sent.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    end::<false>(&ctx);
    0
}

/// Its double.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock_again(ctx: BtfTracePointContext) -> i32 {
    end::<true>(&ctx);
    0
}

#[inline(always)]
fn end<const AGAIN: bool>(ctx: &BtfTracePointContext) {
    // As in `set_state`.
    let sk: Sock<AGAIN> = Sock(ctx.arg(0));
    // SAFETY: a tracepoint's socket argument; the record is checked for null.
    unsafe {
        if let Some(record) = store::find(sk.0) {
            if AGAIN {
                if (*record).flags & FLAG_ENDED != 0 {
                    return;
                }
                count(counters::RECOVERED_ENDS, 1);
            }
            let mut header = records::header(sk, sk.0, record);
            records::add_tcp(&mut header, sk);
            debug!(
                ctx,
                "socket {} of process {} ended: {} bytes sent, {} received",
                header.cookie,
                (*record).owner.tgid,
                (*record).tx_bytes,
                (*record).rx_bytes
            );
            records::close(sk.0, header, record);
            store::remove_at_end(sk.0);
        }
    }
}
