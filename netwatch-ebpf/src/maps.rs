//! The maps. Sizes are defaults; the SDK sets them when it loads the object.

use aya_ebpf::{
    btf_maps::{Array, HashMap, RingBuf, SkStorage},
    macros::btf_map,
};
use netwatch_common::{
    counters,
    dns::DnsRow,
    process::{ProcessKey, ProcessRecord},
    socket::{SocketRecord, SocketRow},
};

use crate::atomic;

/// One record in every socket. No capacity: it lives and dies with its socket.
#[btf_map]
pub static SOCKETS: SkStorage<SocketRecord> = SkStorage::new();

/// What each process moved beyond its open sockets. The SDK removes dead processes.
#[btf_map]
pub static PROCESSES: HashMap<ProcessKey, ProcessRecord, 16384> = HashMap::new();

/// Rows of open sockets, for as long as the SDK takes to read that part of the list.
#[btf_map]
pub static OPEN: RingBuf<SocketRow, { 512 << 10 }> = RingBuf::new();

/// A row for each socket that closed.
#[btf_map]
pub static CLOSED: RingBuf<SocketRow, { 4 << 20 }> = RingBuf::new();

/// A row for each message of a DNS client.
#[btf_map]
pub static DNS: RingBuf<DnsRow, { 2 << 20 }> = RingBuf::new();

/// What was lost, and whether the older sockets are listed.
#[btf_map]
pub static COUNTERS: Array<u64, { counters::LEN as usize }> = Array::new();

/// Adds to one of `COUNTERS`.
#[inline(always)]
pub fn count(counter: u32, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a value of an array map, checked for null.
        unsafe { atomic::add(value, amount) };
    }
}

/// `true` once the sockets older than the collector are listed.
#[inline(always)]
pub fn seeded() -> bool {
    COUNTERS
        .get(counters::SEEDED)
        // SAFETY: a value of an array map, checked for null.
        .is_some_and(|value| unsafe { core::ptr::read_volatile(value) } != 0)
}
