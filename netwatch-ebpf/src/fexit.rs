//! Payload bytes by fexit, for kernels without the tracepoints of `payload`.
//!
//! | hook | kernel prototype |
//! |---|---|
//! | fexit `inet_sendmsg`, `inet6_sendmsg` | `(struct socket *sock, struct msghdr *msg, size_t size)` |
//! | fexit `inet_recvmsg`, `inet6_recvmsg` | `(struct socket *sock, struct msghdr *msg, size_t size, int flags)` |
//! | fexit `sock_splice_read` | `(struct file *in, loff_t *ppos, struct pipe_inode_info *pipe, size_t len, unsigned int flags)` |
//!
//! The first are where every call on a TCP, UDP, raw or multipath TCP socket enters its
//! family, in the caller's context and once: what the protocols call among themselves is
//! below. Writes `SOCKETS`, `PROCESSES`, `COUNTERS`.
//!
//! Cost: the host of the other figures does not allow fexit.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_sock_from_file, macros::fexit, programs::FExitContext};

use netwatch_common::counters;

use crate::{
    doubles,
    kernel::{Sock, socket_of},
    payload,
};

/// A send call on an IPv4 socket returned.
#[fexit(function = "inet_sendmsg")]
pub fn inet_sendmsg(ctx: FExitContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_SENDS }>(|| sent(&ctx));
    0
}

/// A send call on an IPv6 socket returned.
#[fexit(function = "inet6_sendmsg")]
pub fn inet6_sendmsg(ctx: FExitContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_SENDS_V6 }>(|| sent(&ctx));
    0
}

/// A receive call on an IPv4 socket returned.
#[fexit(function = "inet_recvmsg")]
pub fn inet_recvmsg(ctx: FExitContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_RECEIVES }>(|| received(&ctx));
    0
}

/// A receive call on an IPv6 socket returned.
#[fexit(function = "inet6_recvmsg")]
pub fn inet6_recvmsg(ctx: FExitContext) -> i32 {
    doubles::first::<{ counters::RECOVERED_RECEIVES_V6 }>(|| received(&ctx));
    0
}

/// `splice` from a socket returned. What it took of the stream is seen elsewhere; what took
/// another way is not.
#[fexit(function = "sock_splice_read")]
pub fn sock_splice_read(ctx: FExitContext) -> i32 {
    let (file, taken): (*mut c_void, i64) = (ctx.arg(0), ctx.arg(5));
    if taken <= 0 || file.is_null() {
        return 0;
    }
    // SAFETY: a file that the verifier knows, not null.
    let socket = unsafe { bpf_sock_from_file(file.cast()) };
    if socket.is_null() {
        return 0;
    }
    let sk: Sock<false> = socket_of(socket.cast());
    if !sk.0.is_null()
        && sk.is_inet()
        && let Some(tcp) = sk.tcp()
        && sk.has_other_reader(tcp)
    {
        // SAFETY: the verifier knows the socket.
        unsafe { payload::add::<false, false>(sk, 0, taken as u64) };
    }
    0
}

// The result follows the arguments; the loader compares their number with the BTF.

#[inline(always)]
pub fn sent(ctx: &FExitContext) {
    payload::sent(socket_of::<false>(ctx.arg::<*const c_void>(0)), ctx.arg(3));
}

#[inline(always)]
pub fn received(ctx: &FExitContext) {
    payload::received(
        socket_of::<false>(ctx.arg::<*const c_void>(0)),
        ctx.arg(4),
        ctx.arg(3),
    );
}
