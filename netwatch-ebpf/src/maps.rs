//! The maps. Sizes are defaults; the SDK sets them when it loads the object.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE},
    btf_maps::{Array, HashMap, RingBuf, SkStorage},
    macros::btf_map,
};
use netwatch_common::{
    closed_port::{ClosedPort, Tried},
    counters,
    dns::DnsRow,
    event::{ConnectionEvent, Listener},
    flow::{Flow, Owner},
    process::{ProcessKey, ProcessRecord},
    socket::{SocketRecord, SocketRow},
};

use crate::atomic;

/// One record in every socket. No capacity: it lives and dies with its socket.
#[btf_map]
pub static SOCKETS: SkStorage<SocketRecord> = SkStorage::new();

/// The same by the socket's address, for programs and kernels that have no socket storage.
#[btf_map]
pub static SOCKET_TABLE: HashMap<u64, SocketRecord, 65536> = HashMap::new();

/// By a socket's address: who is just becoming its owner, where the kernel may not be able
/// to compare and exchange (before Linux 5.12).
#[btf_map]
pub static CLAIMS: HashMap<u64, ProcessKey, 1024> = HashMap::new();

/// A call of a thread that has not returned yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    pub sk: u64,
    /// Bytes that it moves if it succeeds, where its result does not tell.
    pub length: u64,
}

/// By thread: calls whose return a kretprobe waits for.
#[btf_map]
pub static CALLS: HashMap<u64, Call, 4096> = HashMap::new();

/// By thread: which program has run for its call, by the counter of its double, which has not
/// yet; else 0. An entry is made at the thread's first call, and goes with the thread.
#[btf_map]
pub static NOTED: HashMap<u64, u64, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// By a socket's address: what its record lacks.
#[btf_map]
pub static OWED: HashMap<u64, Owed, 4096> = HashMap::new();

/// Bytes that doubles counted on a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Owed {
    /// The first process that moved any.
    pub key: ProcessKey,
    pub comm: [u8; 16],
    pub cgroup_id: u64,
    /// What that one moved.
    pub tx: u64,
    pub rx: u64,
    /// What is in its process's total already.
    pub shared_tx: u64,
    pub shared_rx: u64,
}

/// Sockets by cookie, where only programs of a cgroup run.
#[btf_map]
pub static FLOWS: HashMap<u64, Flow, 65536> = HashMap::new();

/// Who made each socket, likewise.
#[btf_map]
pub static OWNERS: Inherited<Owner> = Inherited::new();

/// Socket storage that the kernel copies to what a listener accepts (Linux 5.4):
/// `aya_ebpf`'s `SkStorage` with `BPF_F_CLONE`, which it has no parameter for.
#[repr(C)]
pub struct Inherited<T> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: its pointers are there for their types only.
unsafe impl<T> Sync for Inherited<T> {}

impl<T> Inherited<T> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

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

/// Who tried ports that nobody has, since the last reading.
#[btf_map]
pub static CLOSED_PORTS: HashMap<ClosedPort, Tried, 4096> = HashMap::new();

/// What happened to connections, while someone listens.
#[btf_map]
pub static EVENTS: RingBuf<ConnectionEvent, { 2 << 20 }> = RingBuf::new();

/// Who listens, in each listening socket; a socket made for a connection inherits it.
#[btf_map]
pub static LISTENERS: Inherited<Listener> = Inherited::new();

/// What was lost, what is asked for, whether the older sockets are listed, and who
/// tests the hooks.
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

/// One of `COUNTERS`.
#[inline(always)]
pub fn counter(index: u32) -> u64 {
    COUNTERS
        .get(index)
        // SAFETY: a value of an array map, checked for null.
        .map_or(0, |value| unsafe { ptr::read_volatile(value) })
}

/// The thread that tests the hooks; 0 while none does.
#[inline(always)]
pub fn tester() -> u64 {
    counter(counters::TESTER)
}

/// `true` once the sockets older than the collector are listed.
#[inline(always)]
pub fn seeded() -> bool {
    counter(counters::SEEDED) != 0
}

/// `true` while a listing is to have a row for every socket.
#[inline(always)]
pub fn list_whole() -> bool {
    counter(counters::LIST_WHOLE) != 0
}
