//! Programs that the SDK runs: they list, they hook nothing.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | `iter/task_file` | `{meta, task, fd, file}` | 5.8 |
//! | `iter/bpf_sk_storage_map` | `{meta, map, sk, value}` | 5.9 |
//! | `iter/bpf_map_elem` | `{meta, map, key, value}` | 5.8 |
//!
//! The first gives an owner to sockets that have none: those older than the
//! collector, and accepted ones that nobody has used yet. The others write a row
//! for every socket with a record, in all network namespaces, to `OPEN`; when that
//! is full they ask for the same socket again, and the SDK empties `OPEN` meanwhile.
//!
//! Not `bpf_seq_write`: its buffer holds 32 KiB, and after each the kernel walks the
//! map's list (one for each processor) again from its head.

use core::{ffi::c_void, ptr};

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_sock_from_file};
use netwatch_common::socket::{FLAG_ENDED, FLAG_MARKED, FLAG_OLDER, FLAG_WRITTEN, SocketRecord};

use crate::{
    kernel::{Sock, Task, socket_of, socket_of_file},
    maps::{OPEN, seeded},
    processes, records, store,
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

/// `struct bpf_iter__bpf_map_elem`
#[repr(C)]
pub struct TableElement {
    meta: *const c_void,
    map: *const c_void,
    key: *const u64,
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
    if !socket.is_null() {
        own::<false>(task, socket_of(socket.cast()));
    }
    0
}

/// The same where records are in the table, also before Linux 5.11.
///
/// # Safety
///
/// Called by the kernel with its context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub unsafe extern "C" fn own_sockets_table(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel's context.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let socket = socket_of_file(file);
    if !socket.is_null() {
        own::<true>(task, socket_of(socket));
    }
    0
}

/// Gives a socket to the process of a task.
#[inline(always)]
fn own<const TABLE: bool>(task: *const c_void, sk: Sock<TABLE>) {
    if sk.0.is_null() || !sk.is_inet() {
        return;
    }
    // SAFETY: the socket of an open file; the record is checked for null.
    unsafe {
        let Some(record) = store::find_or_make::<TABLE>(sk.0) else {
            return;
        };
        let leader = Task::<false>(task).leader();
        let key = leader.key();
        if records::claim::<TABLE, false>(sk.0, record, &key, leader) {
            processes::entry(&key, &leader.comm(), leader.cgroup_id());
        }
        if !seeded() && (*record).seen_ns == 0 {
            (*record).flags |= FLAG_OLDER;
        }
        records::stamp(record);
        if (*record).flags & FLAG_MARKED == 0
            && let Some(tcp) = sk.tcp()
        {
            (*record).copied_seq = tcp.copied_seq();
            (*record).written_seq = tcp.write_seq();
            (*record).flags |= FLAG_MARKED | FLAG_WRITTEN;
        }
    }
}

/// Writes the row of one socket.
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
    if unsafe { ptr::read_volatile(&raw const (*value).flags) } & FLAG_ENDED != 0 {
        return NEXT;
    }
    let Some(mut row) = OPEN.reserve(0) else {
        return SAME_AGAIN;
    };
    let sk: Sock<false> = Sock(sk);
    // SAFETY: the reserved row is large enough; the value is a record, not null.
    unsafe {
        let mut header = records::header::<false, false>(sk, sk.0, value);
        records::add_tcp(&mut header, sk);
        records::write_row(row.as_mut_ptr(), header, value);
    }
    row.submit(BPF_RB_NO_WAKEUP.into());
    NEXT
}

/// Writes the row of one socket of the table.
///
/// Nothing keeps the socket while it is read: it may end, and its memory may hold another.
/// The record says so afterwards, and the row is dropped.
///
/// # Safety
///
/// Called by the kernel with its context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub unsafe extern "C" fn list_table(ctx: *const TableElement) -> i32 {
    // SAFETY: the kernel's context.
    let (key, value) = unsafe { ((*ctx).key, (*ctx).value) };
    if key.is_null() || value.is_null() {
        return NEXT;
    }
    // SAFETY: an element of the map, not null.
    let read = || unsafe {
        let is_open = ptr::read_volatile(&raw const (*value).flags) & FLAG_ENDED == 0;
        (is_open, ptr::read_volatile(key))
    };
    let (is_open, address) = read();
    if !is_open {
        return NEXT;
    }
    let Some(mut row) = OPEN.reserve(0) else {
        return SAME_AGAIN;
    };
    let sk: Sock<true> = Sock(address as *mut c_void);
    // SAFETY: the reserved row is large enough; the value is a record, not null.
    unsafe {
        let mut header = records::header::<true, true>(sk, sk.0, value);
        records::add_tcp(&mut header, sk);
        records::write_row(row.as_mut_ptr(), header, value);
    }
    if read() == (true, address) {
        row.submit(BPF_RB_NO_WAKEUP.into());
    } else {
        row.discard(BPF_RB_NO_WAKEUP.into());
    }
    NEXT
}
