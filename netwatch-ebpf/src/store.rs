//! Where the record of a socket is: in its socket storage (`SOCKETS`), or in a table by
//! its address (`SOCKET_TABLE`).
//!
//! Socket storage needs a pointer that the verifier knows: no kprobe has one, and tracing
//! programs only since Linux 5.11. The address is the same in every hook. The loader says
//! which store it is; the verifier then never sees the other's calls.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE},
    helpers::{bpf_ktime_get_boot_ns, bpf_sk_storage_get},
};
use netwatch_common::{
    counters,
    process::ProcessKey,
    socket::{COOKIE_KERNEL, SocketRecord, Wire},
};

use crate::{
    atomic,
    maps::{CLAIMS, SOCKET_TABLE, SOCKETS, counter},
};

/// 1 when records are in `SOCKET_TABLE`. Patched before the programs are loaded.
#[unsafe(no_mangle)]
static IN_TABLE: u32 = 0;

/// 1 with the programs of `kprobes` and `lifecycle_kprobes`. Patched likewise.
#[unsafe(no_mangle)]
static BY_KPROBES: u32 = 0;

/// A new record. A constant of the object: 200 bytes are much for the stack of a program.
static NEW: SocketRecord = {
    const NO_PACKETS: Wire = Wire {
        rx_bytes: 0,
        tx_bytes: 0,
        rx_packets: 0,
        tx_packets: 0,
    };
    SocketRecord {
        owner: ProcessKey::NONE,
        tx_bytes: 0,
        rx_bytes: 0,
        shared_tx_bytes: 0,
        shared_rx_bytes: 0,
        listed: 0,
        wire: [NO_PACKETS; 2],
        opened_ns: 0,
        copied_seq: 0,
        flags: 0,
        comm: [0; 16],
        last_local: [0; 2],
        last_remote: [0; 2],
        last_remote_port_be: 0,
        cookie: 0,
        serves_dns: 0,
        states: 0,
        state: 0,
        paid: 0,
        written_seq: 0,
        born: 0,
    }
};

/// Whether records are in the table.
#[inline(always)]
pub fn in_table() -> bool {
    // SAFETY: a static; volatile, because the loader changes it.
    unsafe { ptr::read_volatile(&raw const IN_TABLE) != 0 }
}

/// Whether kprobes count and see the ends of sockets.
#[inline(always)]
pub fn by_kprobes() -> bool {
    // SAFETY: a static; volatile, because the loader changes it.
    unsafe { ptr::read_volatile(&raw const BY_KPROBES) != 0 }
}

/// The record of a socket, or `None` when it has none.
///
/// # Safety
///
/// `sk` is a socket pointer that the program type may pass to `bpf_sk_storage_get`; with
/// the table, any.
#[inline(always)]
pub unsafe fn find(sk: *mut c_void) -> Option<*mut SocketRecord> {
    if in_table() {
        return SOCKET_TABLE.get_ptr_mut(address(sk));
    }
    // SAFETY: the caller's promise.
    unsafe { in_socket(sk, 0) }
}

/// The record of a socket, made if it has none. `None` when the kernel refuses: no
/// memory, the socket's option memory is used up, or the table is full.
///
/// # Safety
///
/// As for [`find`].
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a value would be copied to the stack"
)]
#[inline(always)]
pub unsafe fn find_or_make(sk: *mut c_void) -> Option<*mut SocketRecord> {
    if in_table() {
        let address = address(sk);
        if let Some(record) = SOCKET_TABLE.get_ptr_mut(address) {
            return Some(record);
        }
        // Another may have made it meanwhile: then that one counts.
        let _ = SOCKET_TABLE.insert(address, &NEW, BPF_NOEXIST.into());
        return SOCKET_TABLE.get_ptr_mut(address);
    }
    // SAFETY: the caller's promise.
    unsafe { in_socket(sk, BPF_SK_STORAGE_GET_F_CREATE.into()) }
}

/// The same in the middle of a socket's life. Once there was no room, calls on sockets
/// without a record were counted by their results: such a socket gets none any more, or
/// its stream would be counted again. Kprobes do not see those results.
///
/// # Safety
///
/// As for [`find`].
#[inline(always)]
pub unsafe fn find_or_make_late(sk: *mut c_void) -> Option<*mut SocketRecord> {
    let was_full =
        || counter(counters::UNTRACKED_CALLS) | counter(counters::UNTRACKED_PACKETS) != 0;
    // SAFETY: the caller's promise.
    unsafe {
        if in_table() && !by_kprobes() && was_full() {
            find(sk)
        } else {
            find_or_make(sk)
        }
    }
}

/// The record of a socket that has just been made. Another that is at its address was left
/// behind, by a program that the kernel did not run.
///
/// # Safety
///
/// As for [`find`].
#[inline(always)]
pub unsafe fn make(sk: *mut c_void) -> Option<*mut SocketRecord> {
    if in_table() {
        remove(sk);
    }
    // SAFETY: the caller's promise.
    unsafe { find_or_make(sk) }
}

/// Takes the record of a socket that has ended out of the table: the next socket at its
/// address is another.
#[inline(always)]
pub fn remove(sk: *mut c_void) {
    let _ = SOCKET_TABLE.remove(address(sk));
}

/// [`remove`], unless a kprobe does when the socket's memory is freed.
#[inline(always)]
pub fn remove_at_end(sk: *mut c_void) {
    if in_table() && !by_kprobes() {
        remove(sk);
    }
}

/// Makes a process the owner in a record that has none, and says whether it did.
///
/// # Safety
///
/// `owner` is in a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn claim<const TABLE: bool>(
    sk: *mut c_void,
    owner: *mut ProcessKey,
    key: &ProcessKey,
) -> bool {
    // SAFETY: the caller's promise. Only the one that wins the claim writes the rest.
    unsafe {
        let start = &raw mut (*owner).start_ns;
        let is_owner = set_once::<TABLE>(address(sk), key, start, key.start_ns);
        if is_owner {
            ptr::write_volatile(&raw mut (*owner).tgid, key.tgid);
        }
        is_owner
    }
}

/// Sets a time in a record to now if it is 0, and says whether it did.
///
/// # Safety
///
/// `time` is in a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn stamp<const TABLE: bool>(sk: *mut c_void, time: *mut u64) -> bool {
    // A number that is no socket's address.
    let lock = address(sk) | 1;
    // SAFETY: the caller's promise.
    unsafe { set_once::<TABLE>(lock, &ProcessKey::NONE, time, bpf_ktime_get_boot_ns()) }
}

/// A kernel before Linux 5.12 refuses a program that compares and exchanges: those have
/// `TABLE`. `lock` then is only tried: who holds it sets the place, and others see who does.
///
/// # Safety
///
/// `place` is in a record, checked for null.
#[inline(always)]
unsafe fn set_once<const TABLE: bool>(
    lock: u64,
    holder: &ProcessKey,
    place: *mut u64,
    number: u64,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if ptr::read_volatile(place) != 0 {
            return false;
        }
        if !TABLE && !in_table() {
            return atomic::claim(place, number);
        }
        if CLAIMS.insert(lock, holder, BPF_NOEXIST.into()).is_err() {
            return false;
        }
        let is_free = ptr::read_volatile(place) == 0;
        if is_free {
            ptr::write_volatile(place, number);
        }
        let _ = CLAIMS.remove(lock);
        is_free
    }
}

/// Whether a process is the owner in a record, or just becomes it.
///
/// # Safety
///
/// As for [`claim`].
#[inline(always)]
pub unsafe fn owns(sk: *mut c_void, owner: *const ProcessKey, key: &ProcessKey) -> bool {
    // SAFETY: the caller's promise; a map value, checked for null.
    unsafe {
        let start = &raw const (*owner).start_ns;
        if in_table()
            && ptr::read_volatile(start) == 0
            && let Some(claim) = CLAIMS.get_ptr(address(sk))
        {
            let (claim_start, claim_tgid) = (
                ptr::read_volatile(&raw const (*claim).start_ns),
                ptr::read_volatile(&raw const (*claim).tgid),
            );
            // Only now: without an owner all the time, the claim was neither too late nor
            // another socket's.
            if ptr::read_volatile(start) == 0 {
                return claim_start == key.start_ns && claim_tgid == key.tgid;
            }
        }
        // The id is written beside the start, and may come after it.
        let tgid = ptr::read_volatile(&raw const (*owner).tgid);
        ptr::read_volatile(start) == key.start_ns && (tgid == key.tgid || tgid == 0)
    }
}

/// Whether the socket has its number; if not, the caller has the kernel give it a cookie.
///
/// # Safety
///
/// `record` is a record, checked for null.
#[inline(always)]
pub unsafe fn has_cookie(record: *mut SocketRecord) -> bool {
    // SAFETY: the caller's promise. A field of its own: flags are not for softirq.
    unsafe {
        let cookie = &raw mut (*record).cookie;
        if cookie.read_volatile() != 0 {
            return true;
        }
        cookie.write_volatile(COOKIE_KERNEL);
    }
    false
}

#[inline(always)]
unsafe fn in_socket(sk: *mut c_void, flags: u64) -> Option<*mut SocketRecord> {
    // SAFETY: the caller's promise; a null initial value means all zero.
    let record = unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk,
            ptr::null_mut(),
            flags,
        )
    };
    (!record.is_null()).then_some(record.cast())
}

/// The address as a number. Added up in memory, where the verifier forgets that it was a
/// pointer: it allows no pointer in a key.
#[inline(always)]
pub fn address(sk: *mut c_void) -> u64 {
    let mut address = 0u64;
    // SAFETY: a number on the stack.
    unsafe {
        atomic::add(&raw mut address, sk as u64);
        ptr::read_volatile(&raw const address)
    }
}
