//! Programs that the SDK runs: they list, they hook nothing.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | `iter/task_file` | `{meta, task, fd, file}` | 5.8 |
//! | `iter/bpf_sk_storage_map` | `{meta, map, sk, value}` | 5.9 |
//! | `iter/bpf_map_elem` | `{meta, map, key, value}` | 5.8 |
//!
//! The first gives an owner to sockets that have none: those older than the
//! collector, and accepted ones that nobody has used yet. The others pass every
//! socket with a record, in all network namespaces, and write a row to `OPEN` for
//! those that changed since the two listings before; they count the others in `QUIET`.
//! When `OPEN` is full they ask for the same socket again, and the SDK empties it.
//!
//! Not `bpf_seq_write`: its buffer holds 32 KiB, and after each the kernel walks the
//! map's list (one for each processor) again from its head.

use core::{ffi::c_void, ptr};

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_sock_from_file};
use netwatch_common::{
    counters,
    socket::{COOKIE_OWN, FLAG_ENDED, FLAG_MARKED, FLAG_OLDER, FLAG_WRITTEN, SocketRecord},
};

use crate::{
    doubles, events,
    kernel::{
        IPPROTO_TCP, Sock, TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, Task, socket_of,
        socket_of_file,
    },
    maps::{OPEN, count, list_whole, seeded},
    packets, processes, records, store,
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
        let Some(record) = store::find_or_make(sk.0) else {
            return;
        };
        let leader = Task::<false>(task).leader();
        let key = leader.key();
        if records::claim::<TABLE, false>(sk.0, record, &key, leader) {
            processes::entry(&key, &leader.comm(), leader.cgroup_id());
            if !seeded() {
                (*record).flags |= FLAG_OLDER;
            }
        }
        // The state first of all: `connect` chooses the numbers of a stream that begins, and it
        // is marked when it is established.
        let mark = match sk.state() {
            TCP_SYN_SENT | TCP_SYN_RECV => 0,
            // One that was reset can still be read, not written.
            TCP_CLOSE if seeded() => 0,
            TCP_CLOSE => FLAG_MARKED,
            _ => FLAG_MARKED | FLAG_WRITTEN,
        };
        if mark != 0
            && (*record).flags & FLAG_MARKED == 0
            && let Some(tcp) = sk.tcp()
        {
            (*record).copied_seq = tcp.copied_seq();
            (*record).written_seq = tcp.write_seq();
            (*record).flags |= mark;
        }
        if sk.state() == TCP_LISTEN {
            events::listening(sk, record);
        }
    }
}

/// `true` when nothing of the socket changes unless its record does. Not so without an
/// owner (accepting it shows nowhere), for other protocols than TCP and for a socket in
/// state CLOSE (`connect` and `bind` change addresses), and where packets are not counted.
///
/// # Safety
///
/// `record` is a record of `sk`, not null.
#[inline(always)]
unsafe fn tells_of_change<const PROBE: bool>(sk: Sock<PROBE>, record: *const SocketRecord) -> bool {
    // SAFETY: the caller's promise.
    let owned = unsafe { (*record).owner.start_ns } != 0;
    owned && packets::are_counted() && sk.protocol() == IPPROTO_TCP && sk.state() != TCP_CLOSE
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
    // SAFETY: the socket that the value is of; it stays while the program runs.
    unsafe { list::<false>(Sock(sk), value, || true) }
}

/// Writes the row of one socket of the table, likewise.
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
    unsafe {
        let address = ptr::read_volatile(key);
        list::<true>(Sock(address as *mut c_void), value, || {
            !is_over(value) && ptr::read_volatile(key) == address
        })
    }
}

/// Whether the kernel is about to give the socket its cookie, in the call that makes it or
/// with the packet that establishes it. Once it is listed by another number, it keeps that.
///
/// # Safety
///
/// `record` is a record of `sk`, not null.
#[inline(always)]
unsafe fn awaits_cookie(sk: Sock<true>, record: *mut SocketRecord) -> bool {
    /// In units of `born`: a tenth of a second.
    const PATIENCE: u32 = 100_000;
    // SAFETY: the caller's promise.
    unsafe {
        if !packets::are_counted()
            || (*record).cookie == COOKIE_OWN
            || (*record).flags & FLAG_OLDER != 0
            || sk.cookie() != 0
        {
            return false;
        }
        let now = records::clock();
        if (*record).born == 0 {
            (*record).born = now;
        }
        now.wrapping_sub((*record).born) < PATIENCE
    }
}

/// # Safety
///
/// `record` is a record, not null.
#[inline(always)]
unsafe fn is_over(record: *const SocketRecord) -> bool {
    // SAFETY: the caller's promise.
    unsafe { ptr::read_volatile(&raw const (*record).flags) & FLAG_ENDED != 0 }
}

/// Writes a row; `is_sound` says afterwards whether it was the same socket all the time.
///
/// # Safety
///
/// `record` is a record of `sk`, not null.
#[inline(always)]
unsafe fn list<const TABLE: bool>(
    sk: Sock<TABLE>,
    record: *mut SocketRecord,
    is_sound: impl FnOnce() -> bool,
) -> i32 {
    if !TABLE {
        // SAFETY: the caller's promise.
        unsafe { doubles::settle(sk.0, record) };
    }
    // SAFETY: likewise.
    let (sum, listed, is_over) =
        unsafe { (records::sum(record), (*record).listed, is_over(record)) };
    let settled = SocketRecord::settled(sum);
    if listed == settled && !list_whole() {
        count(counters::QUIET, 1);
        return NEXT;
    }
    // SAFETY: likewise.
    if is_over || TABLE && unsafe { awaits_cookie(Sock(sk.0), record) } {
        return NEXT;
    }
    let Some(mut row) = OPEN.reserve(0) else {
        return SAME_AGAIN;
    };
    let fresh = SocketRecord::fresh(sum);
    // SAFETY: the caller's promise; the reserved row is large enough. `listed` before the
    // row is made: what changes meanwhile changes the sum.
    unsafe {
        let next = if !tells_of_change(sk, record) {
            0
        } else if listed == fresh || listed == settled {
            settled
        } else {
            fresh
        };
        ptr::write_volatile(&raw mut (*record).listed, next);
        let mut header = records::header(sk, sk.0, record);
        records::add_tcp(&mut header, sk);
        records::write_row(row.as_mut_ptr(), header, record);
    }
    if is_sound() {
        row.submit(BPF_RB_NO_WAKEUP.into());
    } else {
        row.discard(BPF_RB_NO_WAKEUP.into());
    }
    NEXT
}
