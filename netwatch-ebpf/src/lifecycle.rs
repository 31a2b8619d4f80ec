//! The beginning and the end of sockets.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | `cgroup/sock_create` | `(struct bpf_sock *)`, in `socket(2)` | 4.10 |
//! | `cgroup/sock_release` | `(struct bpf_sock *)`, at the last `close(2)` | 5.9 |
//! | tp_btf `inet_sock_set_state` | `(const struct sock *sk, int oldstate, int newstate)` | 4.16 |
//! | tp_btf `tcp_destroy_sock` | `(struct sock *sk)` | 4.16 |
//!
//! A TCP socket goes on after its last `close(2)` until its peer has everything,
//! so its end is `tcp_destroy_sock`; any other socket's is `sock_release`.
//! Writes `SOCKETS`, `PROCESSES`, `CLOSED`, `COUNTERS`.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`):
//! `sock_create` 640 ns, `sock_release` 161 ns, `inet_sock_set_state` 83 ns,
//! `tcp_destroy_sock` 237 ns.

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, cgroup_sock},
    programs::{BtfTracePointContext, SockContext},
};
use aya_log_ebpf::{debug, trace};
use netwatch_common::socket::{FLAG_INCOMING, FLAG_LISTENING, FLAG_MARKED, FLAG_OUTGOING};

use crate::{
    kernel::{IPPROTO_TCP, Sock, TCP_CLOSE, Task},
    processes, records,
};

const ALLOW: i32 = 1;

const DIRECTIONS: u32 = FLAG_INCOMING | FLAG_OUTGOING | FLAG_LISTENING;

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_LISTEN: i32 = 10;

/// A process makes a socket: it owns it.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the program's context is the socket.
    if let Some(record) = unsafe { records::find_or_make(ctx.as_ptr()) } {
        let leader = Task::current().leader();
        let key = processes::current_key(leader);
        // SAFETY: a map value, checked for null.
        unsafe {
            records::claim(record, &key, leader);
        }
        processes::current(&key, leader);
        trace!(&ctx, "process {} made a socket", key.tgid);
    }
    ALLOW
}

/// The last file of a socket is closed.
#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    // The context is the `struct sock` itself, but not typed as one.
    let sk: Sock<true> = Sock(ctx.as_ptr());
    if sk.protocol() != IPPROTO_TCP {
        // SAFETY: the program's context is the socket; the record is checked for null.
        unsafe {
            if let Some(record) = records::find(ctx.as_ptr()) {
                records::close(records::header(sk, ctx.as_ptr()), record);
            }
        }
    }
    ALLOW
}

/// A connection changes its state; also one of multipath TCP.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let sk: Sock<false> = Sock(ctx.arg(0));
    let direction = match (old, new) {
        (_, TCP_SYN_SENT) | (TCP_SYN_SENT, TCP_ESTABLISHED) => FLAG_OUTGOING,
        (TCP_SYN_RECV | TCP_LISTEN, TCP_ESTABLISHED) => FLAG_INCOMING,
        (_, TCP_LISTEN) => FLAG_LISTENING,
        _ => 0,
    };
    // SAFETY: a tracepoint's socket argument; the record is checked for null.
    unsafe {
        let record = if direction == 0 {
            records::find(sk.0)
        } else {
            records::find_or_make(sk.0)
        };
        let Some(record) = record else { return 0 };
        (*record).states = (*record).states.wrapping_add(1);
        if new == TCP_CLOSE.into() {
            records::keep_addresses(record, sk);
        }
        if direction == 0 {
            return 0;
        }
        let mut flags = (*record).flags & !DIRECTIONS | direction;
        if new == TCP_ESTABLISHED
            && let Some(tcp) = sk.tcp()
        {
            (*record).copied_seq = tcp.copied_seq();
            flags |= FLAG_MARKED;
        }
        (*record).flags = flags;
    }
    0
}

/// A TCP socket is gone, its last packet sent.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: Sock<false> = Sock(ctx.arg(0));
    // SAFETY: a tracepoint's socket argument; the record is checked for null.
    unsafe {
        if let Some(record) = records::find(sk.0) {
            let mut header = records::header(sk, sk.0);
            records::add_tcp(&mut header, sk);
            debug!(
                &ctx,
                "socket {} of process {} ended: {} bytes sent, {} received",
                header.cookie,
                (*record).owner.tgid,
                (*record).tx_bytes,
                (*record).rx_bytes
            );
            records::close(header, record);
        }
    }
    0
}
