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

/// The record of a process, made if it has none. `None` when the map is full.
#[inline(always)]
pub fn entry(key: &ProcessKey, comm: &[u8; 16], cgroup_id: u64) -> Option<*mut ProcessRecord> {
    if let Some(record) = PROCESSES.get_ptr_mut(key) {
        return Some(record);
    }
    let empty = Wire {
        rx_bytes: 0,
        tx_bytes: 0,
        rx_packets: 0,
        tx_packets: 0,
    };
    let record = ProcessRecord {
        tx_bytes: 0,
        rx_bytes: 0,
        wire: [empty, empty],
        cgroup_id,
        comm: *comm,
        exited: 0,
        reserved: 0,
    };
    let _ = PROCESSES.insert(key, record, BPF_NOEXIST.into());
    PROCESSES.get_ptr_mut(key)
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
