//! The record of each socket: who owns the socket, what it moved, and its end.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
};
use netwatch_common::{
    counters,
    process::ProcessKey,
    socket::{
        COOKIE_OWN, FLAG_ENDED, LOOPBACK, NETWORK, SocketHeader, SocketRecord, SocketRow, Wire,
    },
};

use crate::{
    atomic, doubles, events,
    kernel::{AF_INET6, Sock, Task},
    maps::{CLOSED, count},
    processes,
    store::{self, in_table},
};

/// Makes the process whose leader is given the owner, unless there is one.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn claim<const TABLE: bool, const PROBE: bool>(
    sk: *mut c_void,
    record: *mut SocketRecord,
    key: &ProcessKey,
    leader: Task<PROBE>,
) -> bool {
    // SAFETY: the caller's promise. Only the one that wins the claim writes the name.
    unsafe {
        let is_owner = store::claim::<TABLE>(sk, &raw mut (*record).owner, key);
        if is_owner {
            (*record).comm = leader.comm();
        }
        is_owner
    }
}

/// The sum of all that is counted in a record. No counter goes back, so it is the same
/// only while none has changed.
///
/// # Safety
///
/// `record` is a record, checked for null.
#[inline(always)]
pub unsafe fn sum(record: *const SocketRecord) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let record = &*record;
        let [a, b] = &record.wire;
        record.tx_bytes
            + record.rx_bytes
            + record.shared_tx_bytes
            + record.shared_rx_bytes
            + a.rx_packets
            + a.tx_packets
            + b.rx_packets
            + b.tx_packets
            + u64::from(record.states)
            + u64::from(record.paid)
    }
}

/// Local and remote address.
#[inline(always)]
fn addresses<const PROBE: bool>(sk: Sock<PROBE>) -> ([u64; 2], [u64; 2]) {
    if sk.family() == AF_INET6 {
        (sk.local_v6(), sk.remote_v6())
    } else {
        ([sk.local_v4().into(), 0], [sk.remote_v4().into(), 0])
    }
}

/// Keeps the addresses that a reset is about to clear.
///
/// # Safety
///
/// `record` is a record, checked for null.
#[inline(always)]
pub unsafe fn keep_addresses<const PROBE: bool>(record: *mut SocketRecord, sk: Sock<PROBE>) {
    let (local, remote) = addresses(sk);
    // SAFETY: the caller's promise.
    unsafe {
        (*record).last_local = local;
        (*record).last_remote = remote;
        (*record).last_remote_port_be = sk.remote_port();
    }
}

/// Time in units of 1,024 ns, for `born`; never 0.
#[inline(always)]
pub fn clock() -> u32 {
    // SAFETY: always allowed.
    let now = unsafe { bpf_ktime_get_ns() };
    (now >> 10) as u32 | 1
}

/// The number that identifies a socket for as long as it is there.
///
/// # Safety
///
/// As for [`header`].
#[inline(always)]
unsafe fn cookie<const PROBE: bool>(
    sk: Sock<PROBE>,
    cookie_of: *mut c_void,
    record: *mut SocketRecord,
) -> u64 {
    const IS_OWN: u64 = 1 << 63;
    // SAFETY: the caller's promise.
    unsafe {
        // Tracing programs have the call since Linux 5.12, kprobes never.
        if !in_table() {
            return bpf_get_socket_cookie(cookie_of);
        }
        let cookie = sk.cookie();
        if (*record).cookie != COOKIE_OWN {
            if cookie != 0 {
                return cookie;
            }
            (*record).born = clock();
            (*record).cookie = COOKIE_OWN;
        }
        // No two sockets are at one address at one time.
        IS_OWN | store::address(sk.0).rotate_left(24) ^ u64::from((*record).born)
    }
}

/// What a socket is, for its row.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null, and `cookie_of` what the program type
/// may pass to `bpf_get_socket_cookie` for it; with the table, anything.
#[inline(always)]
pub unsafe fn header<const PROBE: bool>(
    sk: Sock<PROBE>,
    cookie_of: *mut c_void,
    record: *mut SocketRecord,
) -> SocketHeader {
    let (local, remote) = addresses(sk);
    let (netns_inode, netns_cookie) = sk.netns();
    SocketHeader {
        // SAFETY: the caller's promise.
        cookie: unsafe { cookie(sk, cookie_of, record) },
        netns_cookie,
        cgroup_id: sk.cgroup_id(),
        local,
        remote,
        netns_inode,
        uid: sk.uid(),
        srtt_8us: 0,
        mdev_4us: 0,
        min_rtt_us: u32::MAX,
        retransmits: 0,
        family: sk.family(),
        protocol: sk.protocol(),
        local_port: sk.local_port(),
        remote_port_be: sk.remote_port(),
        state: sk.state(),
        kernel: u8::from(sk.is_kernel()),
        attached: u8::from(sk.is_attached()),
        folded: 0,
        reserved: 0,
    }
}

/// Adds what TCP knows of itself.
#[inline(always)]
pub fn add_tcp<const PROBE: bool>(header: &mut SocketHeader, sk: Sock<PROBE>) {
    if let Some(tcp) = sk.tcp() {
        header.local_port = u16::from_be(tcp.local_port_be());
        header.srtt_8us = tcp.srtt_8us();
        header.mdev_4us = tcp.mdev_4us();
        header.min_rtt_us = tcp.min_rtt_us();
        header.retransmits = tcp.retransmits();
    }
}

/// Writes a row in steps of 8 bytes; the compiler's own copy goes byte by byte.
///
/// # Safety
///
/// `place` is the space reserved for a row, `record` a record, checked for null.
#[inline(always)]
pub unsafe fn write_row(place: *mut SocketRow, header: SocketHeader, record: *const SocketRecord) {
    const WORDS: usize = size_of::<SocketRecord>() / 8;
    const _: () =
        assert!(size_of::<SocketRecord>() == 8 * WORDS && align_of::<SocketRecord>() == 8);
    // SAFETY: the caller's promise; volatile, or the loop becomes that copy again.
    unsafe {
        (&raw mut (*place).header).write(header);
        let to = (&raw mut (*place).record).cast::<u64>();
        for word in 0..WORDS {
            to.add(word)
                .write_volatile(record.cast::<u64>().add(word).read_volatile());
        }
    }
}

/// Adds the owner's payload to its total, once the last file of a TCP socket is closed. No
/// call can move more then, but the socket's end may be minutes away, and be missed.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn pay(sk: *mut c_void, record: *mut SocketRecord, cgroup_id: u64) {
    // SAFETY: the caller's promise; map values are checked for null.
    unsafe {
        // What doubles counted comes first: a record that is paid adds no more to the total.
        doubles::settle_last(sk, record);
        let (tx, rx) = ((*record).tx_bytes, (*record).rx_bytes);
        if tx | rx == 0 || (*record).paid != 0 || (*record).flags & FLAG_ENDED != 0 {
            return;
        }
        let (owner, comm) = ((*record).owner, (*record).comm);
        // Where there is no room, its end tries again.
        if let Some(total) = processes::entry(&owner, &comm, cgroup_id) {
            // First, so that no listing shows bytes that are in `PROCESSES` already.
            ptr::write_volatile(&raw mut (*record).paid, 1);
            processes::add_payload(Some(total), tx, rx);
        }
    }
}

/// Ends a socket, once: its bytes go to its owner's total, its row into `CLOSED`.
///
/// # Safety
///
/// `record` is a record of `sk`, checked for null.
#[inline(always)]
pub unsafe fn close(sk: *mut c_void, mut header: SocketHeader, record: *mut SocketRecord) {
    // SAFETY: the caller's promise.
    if unsafe { (*record).flags } & FLAG_ENDED != 0 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        doubles::settle_last(sk, record);
        doubles::forget(sk);
    }
    count(counters::ENDS, 1);
    // SAFETY: the caller's promise. First of all, so that no listing shows a socket
    // whose bytes are in `PROCESSES` already.
    let owner = unsafe {
        ptr::write_volatile(&raw mut (*record).flags, (*record).flags | FLAG_ENDED);
        if header.remote_port_be == 0 && (*record).last_remote_port_be != 0 {
            header.local = (*record).last_local;
            header.remote = (*record).last_remote;
            header.remote_port_be = (*record).last_remote_port_be;
        }
        events::closed(sk, &header, record);
        (*record).owner
    };
    let key = if owner.start_ns == 0 && header.kernel != 0 {
        ProcessKey::KERNEL
    } else {
        owner
    };
    // SAFETY: the caller's promise.
    let comm = unsafe { (*record).comm };
    let total = processes::entry(&key, &comm, header.cgroup_id);
    if let Some(total) = total {
        header.folded = 1;
        // SAFETY: map values, checked for null.
        unsafe {
            if (*record).paid == 0 {
                processes::add_payload(Some(total), (*record).tx_bytes, (*record).rx_bytes);
            }
            add_wire(
                &raw mut (*total).wire[LOOPBACK],
                &raw const (*record).wire[LOOPBACK],
            );
            add_wire(
                &raw mut (*total).wire[NETWORK],
                &raw const (*record).wire[NETWORK],
            );
        }
    }
    let Some(mut row) = CLOSED.reserve(0) else {
        count(counters::CLOSED_ROWS, 1);
        if total.is_none() {
            // SAFETY: the caller's promise.
            unsafe {
                if (*record).paid == 0 {
                    processes::add_payload(None, (*record).tx_bytes, (*record).rx_bytes);
                }
                count(counters::UNATTRIBUTED_WIRE, wire_bytes(record));
            }
        }
        return;
    };
    // SAFETY: the reserved row is large enough; the record is a map value.
    unsafe {
        write_row(row.as_mut_ptr(), header, record);
    }
    row.submit(BPF_RB_NO_WAKEUP.into());
}

#[inline(always)]
unsafe fn add_wire(total: *mut Wire, part: *const Wire) {
    // SAFETY: both point into map values, checked for null.
    unsafe {
        if (*part).rx_packets != 0 {
            atomic::add(&raw mut (*total).rx_bytes, (*part).rx_bytes);
            atomic::add(&raw mut (*total).rx_packets, (*part).rx_packets);
        }
        if (*part).tx_packets != 0 {
            atomic::add(&raw mut (*total).tx_bytes, (*part).tx_bytes);
            atomic::add(&raw mut (*total).tx_packets, (*part).tx_packets);
        }
    }
}

#[inline(always)]
unsafe fn wire_bytes(record: *const SocketRecord) -> u64 {
    // SAFETY: a map value, checked for null.
    let [a, b] = unsafe { [(*record).wire[LOOPBACK], (*record).wire[NETWORK]] };
    a.rx_bytes + a.tx_bytes + b.rx_bytes + b.tx_bytes
}
