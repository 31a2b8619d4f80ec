//! The totals of processes, apart from what is in the sockets they own.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
};
use netwatch_common::{
    counters,
    process::{ProcessKey, ProcessRecord},
    socket::Wire,
};

use crate::{
    atomic,
    kernel::Task,
    maps::{PROCESSES, count, tester},
};

/// A new record. A constant of the object: to zero one on the stack is a call of `memset`,
/// and verifiers before Linux 6.2 hardly come to an end with programs that have functions.
static NEW: ProcessRecord = {
    const NO_PACKETS: Wire = Wire {
        rx_bytes: 0,
        tx_bytes: 0,
        rx_packets: 0,
        tx_packets: 0,
    };
    ProcessRecord {
        tx_bytes: 0,
        rx_bytes: 0,
        wire: [NO_PACKETS; 2],
        cgroup_id: 0,
        comm: [0; 16],
        exited: 0,
        reserved: 0,
    }
};

/// The record of a process, made if it has none, and whether it was. `None` when the map is full.
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a value would be copied to the stack"
)]
#[inline(always)]
fn find_or_make(key: &ProcessKey) -> Option<(*mut ProcessRecord, bool)> {
    if let Some(record) = PROCESSES.get_ptr_mut(key) {
        return Some((record, false));
    }
    let is_new = PROCESSES.insert(key, &NEW, BPF_NOEXIST.into()).is_ok();
    Some((PROCESSES.get_ptr_mut(key)?, is_new))
}

/// The record of a process, made if it has none. `None` when the map is full.
#[inline(always)]
pub fn entry(key: &ProcessKey, comm: &[u8; 16], cgroup_id: u64) -> Option<*mut ProcessRecord> {
    let (record, is_new) = find_or_make(key)?;
    if is_new {
        // SAFETY: a map value, checked for null.
        unsafe {
            (*record).cgroup_id = cgroup_id;
            (*record).comm = *comm;
        }
    }
    Some(record)
}

/// That of the kernel, which has no name. `None` when the map is full.
#[inline(always)]
pub fn kernel() -> Option<*mut ProcessRecord> {
    find_or_make(&ProcessKey::KERNEL).map(|(record, _)| record)
}

/// The key of the running process, or of the test that the running thread makes.
#[inline(always)]
pub fn current_key<const PROBE: bool>(leader: Task<PROBE>) -> ProcessKey {
    let tester = tester();
    if tester != 0 && tester == bpf_get_current_pid_tgid() {
        return ProcessKey::TEST;
    }
    leader.key()
}

/// The record of the running process, made if it has none.
#[inline(always)]
pub fn current<const PROBE: bool>(
    key: &ProcessKey,
    leader: Task<PROBE>,
) -> Option<*mut ProcessRecord> {
    // SAFETY: always allowed in process context.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    entry(key, &leader.comm(), cgroup_id)
}

/// Adds payload bytes to a process's total, or else to what reached nobody's.
#[inline(always)]
pub fn add_payload(record: Option<*mut ProcessRecord>, tx: u64, rx: u64) {
    if let Some(record) = record {
        // SAFETY: a map value, checked for null.
        unsafe {
            if tx != 0 {
                atomic::add(&raw mut (*record).tx_bytes, tx);
            }
            if rx != 0 {
                atomic::add(&raw mut (*record).rx_bytes, rx);
            }
        }
    } else {
        if tx != 0 {
            count(counters::UNATTRIBUTED_TX, tx);
        }
        if rx != 0 {
            count(counters::UNATTRIBUTED_RX, rx);
        }
    }
}
