//! Programs that the SDK runs: they list, they hook nothing.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | `iter/task_file` | `{meta, task, fd, file}` | 5.8 |
//! | `iter/bpf_sk_storage_map` | `{meta, map, sk, value}` | 5.9 |
//!
//! The first gives an owner to sockets that have none: those older than the
//! collector, and accepted ones that nobody has used yet. The second passes every
//! socket with a record, in all network namespaces, and writes a row to `OPEN` for
//! those that changed since the two listings before; it counts the others in `QUIET`.
//! When `OPEN` is full it asks for the same socket again, and the SDK empties it.
//!
//! Not `bpf_seq_write`: its buffer holds 32 KiB, and after each the kernel walks the
//! map's list (one for each processor) again from its head.

use core::{ffi::c_void, ptr};

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_sock_from_file};
use netwatch_common::{
    counters,
    socket::{FLAG_ENDED, FLAG_MARKED, FLAG_OLDER, SocketRecord},
};

use crate::{
    events,
    kernel::{IPPROTO_TCP, Sock, TCP_CLOSE, TCP_LISTEN, Task, socket_of},
    maps::{OPEN, count, list_whole, seeded},
    payload::cgroup_is_hooked,
    processes, records,
};

/// Return values of an iterator program.
const NEXT: i32 = 0;
const SAME_AGAIN: i32 = 1;

/// `struct bpf_iter__task_file`
#[repr(C)]
pub struct TaskFile {
    meta: *const c_void,
    task: *const c_void,
    fd: u64,
    file: *mut c_void,
}

/// `struct bpf_iter__bpf_sk_storage_map`
#[repr(C)]
pub struct StorageElement {
    meta: *const c_void,
    map: *const c_void,
    sk: *mut c_void,
    value: *mut SocketRecord,
}

/// Gives the socket behind a file to the process that holds it, if nobody owns it.
///
/// # Safety
///
/// Called by the kernel with its context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub unsafe extern "C" fn own_sockets(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel's context.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: a file that the verifier knows, not null.
    let socket = unsafe { bpf_sock_from_file(file.cast()) };
    if socket.is_null() {
        return 0;
    }
    let sk = socket_of(socket.cast());
    if sk.0.is_null() || !sk.is_inet() {
        return 0;
    }
    // SAFETY: the socket of an open file; the record is checked for null.
    unsafe {
        let Some(record) = records::find_or_make(sk.0) else {
            return 0;
        };
        let leader = Task(task).leader();
        let key = leader.key();
        if records::claim(record, &key, leader) {
            processes::entry(&key, &leader.comm(), leader.cgroup_id());
            if !seeded() {
                (*record).flags |= FLAG_OLDER;
            }
        }
        if (*record).flags & FLAG_MARKED == 0
            && let Some(tcp) = sk.tcp()
        {
            (*record).copied_seq = tcp.copied_seq();
            (*record).flags |= FLAG_MARKED;
        }
        if sk.state() == TCP_LISTEN {
            events::listening(sk, record);
        }
    }
    0
}

/// `true` when nothing of the socket changes unless its record does. Not so without an
/// owner (accepting it shows nowhere), for other protocols than TCP and for a socket in
/// state CLOSE (`connect` and `bind` change addresses), and where packets are not counted.
///
/// # Safety
///
/// `record` is a value of `SOCKETS`, not null.
#[inline(always)]
unsafe fn tells_of_change(sk: Sock<false>, record: *const SocketRecord) -> bool {
    // SAFETY: the caller's promise.
    let owned = unsafe { (*record).owner.start_ns } != 0;
    owned && cgroup_is_hooked() && sk.protocol() == IPPROTO_TCP && sk.state() != TCP_CLOSE
}

/// Writes the row of one socket, unless the SDK has one that still holds.
///
/// # Safety
///
/// Called by the kernel with its context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub unsafe extern "C" fn list_sockets(ctx: *const StorageElement) -> i32 {
    // SAFETY: the kernel's context.
    let (sk, value) = unsafe { ((*ctx).sk, (*ctx).value) };
    if sk.is_null() || value.is_null() {
        return NEXT;
    }
    // SAFETY: a map value, not null.
    let (sum, listed) = unsafe { (records::sum(value), (*value).listed) };
    let settled = SocketRecord::settled(sum);
    if listed == settled && !list_whole() {
        count(counters::QUIET, 1);
        return NEXT;
    }
    // SAFETY: a map value, not null.
    if unsafe { ptr::read_volatile(&raw const (*value).flags) } & FLAG_ENDED != 0 {
        return NEXT;
    }
    let Some(mut row) = OPEN.reserve(0) else {
        return SAME_AGAIN;
    };
    let sk: Sock<false> = Sock(sk);
    let fresh = SocketRecord::fresh(sum);
    // SAFETY: a map value, not null. Before the row is made: what changes meanwhile
    // changes the sum.
    unsafe {
        let next = if !tells_of_change(sk, value) {
            0
        } else if listed == fresh || listed == settled {
            settled
        } else {
            fresh
        };
        ptr::write_volatile(&raw mut (*value).listed, next);
    }
    let mut header = records::header(sk, sk.0);
    records::add_tcp(&mut header, sk);
    // SAFETY: the reserved row is large enough; the value is a record, not null.
    unsafe { records::write_row(row.as_mut_ptr(), header, value) };
    row.submit(BPF_RB_NO_WAKEUP.into());
    NEXT
}
