//! Payload bytes by fexit, for kernels without the tracepoints of `payload`.
//!
//! | hook | kernel prototype |
//! |---|---|
//! | fexit `inet_sendmsg`, `inet6_sendmsg` | `(struct socket *sock, struct msghdr *msg, size_t size)` |
//! | fexit `inet_recvmsg`, `inet6_recvmsg` | `(struct socket *sock, struct msghdr *msg, size_t size, int flags)` |
//!
//! These are where every call on a TCP, UDP, raw or multipath TCP socket enters its
//! family, in the caller's context and once: what the protocols call among themselves is
//! below. Writes `SOCKETS`, `PROCESSES`, `COUNTERS`.
//!
//! Cost: the host of the other figures does not allow fexit.

use core::ffi::c_void;

use aya_ebpf::{macros::fexit, programs::FExitContext};

use netwatch_common::counters;

use crate::{doubles, kernel::socket_of, payload};

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

// The result follows the arguments; the loader compares their number with the BTF.

#[inline(always)]
pub fn sent(ctx: &FExitContext) {
    payload::sent(socket_of(ctx.arg::<*const c_void>(0)), ctx.arg(3));
}

#[inline(always)]
pub fn received(ctx: &FExitContext) {
    payload::received(
        socket_of(ctx.arg::<*const c_void>(0)),
        ctx.arg(4),
        ctx.arg(3),
    );
}
