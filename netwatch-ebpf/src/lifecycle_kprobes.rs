//! The beginning and the end of sockets by kprobes, with the rung of that name.
//!
//! | hook | kernel prototype | when |
//! |---|---|---|
//! | kprobe `sock_init_data` | `(struct socket *sock, struct sock *sk)` | in `socket(2)` |
//! | kprobe `inet_release` | `(struct socket *sock)` | at the last `close(2)`, where there is no `cgroup/sock_release` |
//! | kprobe `inet_sock_destruct` | `(struct sock *sk)` | before the memory is freed |
//! | `cgroup/sock_create` | `(struct bpf_sock *)` | in `socket(2)` |
//!
//! The last frees the record's place in the table, so that the next socket at the address
//! begins with nothing. Writes `SOCKET_TABLE`, `PROCESSES`, `CLOSED`, `COUNTERS`.
//!
//! Cost: the host of the other figures has no kprobes.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_socket_cookie,
    macros::{cgroup_sock, kprobe},
    programs::{ProbeContext, SockContext},
};

use crate::{
    kernel::{IPPROTO_TCP, Sock, Task, socket_of},
    processes, records, store,
};

/// A process makes a socket: it owns it.
#[kprobe]
pub fn sock_init_data(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg(1) else { return 0 };
    let sk: Sock<true> = Sock(sk);
    if !sk.is_inet() || sk.is_kernel() {
        return 0;
    }
    // SAFETY: with the table, any pointer; a map value, checked for null.
    unsafe {
        if let Some(record) = store::make(sk.0) {
            let leader = Task::<true>::current().leader();
            let key = processes::current_key(leader);
            records::claim::<true, true>(sk.0, record, &key, leader);
            processes::current(&key, leader);
        }
    }
    0
}

/// The kernel gives a new socket its cookie.
#[cgroup_sock(sock_create)]
pub fn sock_cookie(ctx: SockContext) -> i32 {
    // SAFETY: the program's context; a map value, checked for null.
    unsafe {
        if let Some(record) = store::find(ctx.as_ptr())
            && !store::has_cookie(record)
        {
            bpf_get_socket_cookie(ctx.as_ptr());
        }
    }
    1
}

/// The last file of a socket is closed.
#[kprobe]
pub fn inet_release(ctx: ProbeContext) -> u32 {
    let Some(socket) = ctx.arg::<*const c_void>(0) else {
        return 0;
    };
    let sk: Sock<true> = socket_of(socket);
    if !sk.0.is_null() && sk.protocol() != IPPROTO_TCP {
        end(sk);
    }
    0
}

/// A socket's memory is about to be freed.
#[kprobe]
pub fn inet_sock_destruct(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0) {
        let sk: Sock<true> = Sock(sk);
        end(sk);
        store::remove(sk.0);
    }
    0
}

#[inline(always)]
fn end(sk: Sock<true>) {
    // SAFETY: with the table, any pointer; a map value, checked for null.
    unsafe {
        if let Some(record) = store::find(sk.0) {
            let mut header = records::header(sk, ptr::null_mut(), record);
            records::add_tcp(&mut header, sk);
            records::close(sk.0, header, record);
        }
    }
}
