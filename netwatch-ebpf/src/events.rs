//! What happens to connections, written to `EVENTS` while someone listens.
//!
//! No hook of its own: `lifecycle` and `payload` call in here. Most of that runs in
//! whatever context a packet arrived in, so a connection's process is the owner in
//! its record and never the running one. A connection that was accepted and not used
//! yet has the owner of the listener, from `LISTENERS`, which it inherits.
//! An event that does not fit is counted in `COUNTERS`.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_ktime_get_boot_ns, bpf_sk_storage_delete, bpf_sk_storage_get},
};
use netwatch_common::{
    counters,
    event::{BROKEN, CLOSED, ConnectionEvent, ESTABLISHED, Listener, OPENED},
    process::ProcessKey,
    socket::{
        FLAG_FAILED, FLAG_INCOMING, FLAG_LISTENING, FLAG_OLDER, FLAG_OUTGOING, FLAG_RECEIVED_FIRST,
        SocketHeader, SocketRecord,
    },
};

use crate::{
    doubles,
    kernel::{
        IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, Sock, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED,
        TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT,
    },
    maps::{EVENTS, LISTENERS, PROCESSES, count, counter},
    records,
    store::{self, in_table},
    words,
};

#[inline(always)]
fn wanted() -> bool {
    counter(counters::EVENTS_WANTED) != 0
}

/// Nothing to tell.
pub const NONE: u8 = 0;

/// A connect call was made. Returns the kind of event, as the next two.
///
/// # Safety
///
/// `sk` is a tracepoint's argument, `record` its value of `SOCKETS`, checked for null.
#[inline(always)]
pub unsafe fn connecting(record: *mut SocketRecord) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { (*record).opened_ns = bpf_ktime_get_boot_ns() };
    OPENED
}

/// A handshake is done.
///
/// # Safety
///
/// As for [`connecting`].
#[inline(always)]
pub unsafe fn established(record: *mut SocketRecord) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        if (*record).flags & FLAG_INCOMING != 0 {
            (*record).opened_ns = bpf_ktime_get_boot_ns();
        }
    }
    ESTABLISHED
}

/// A connection's state became CLOSE, which is news unless both sides wanted it.
///
/// # Safety
///
/// As for [`connecting`].
#[inline(always)]
pub unsafe fn broken<const PROBE: bool>(sk: Sock<PROBE>, old: u8, record: *mut SocketRecord) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let is_news = match old {
            TCP_SYN_SENT => true,
            TCP_SYN_RECV => (*record).flags & FLAG_OUTGOING != 0,
            // Without an error, this host ends it with a reset.
            TCP_ESTABLISHED | TCP_CLOSE_WAIT => true,
            TCP_CLOSE | TCP_LISTEN => false,
            _ => sk.error() != 0,
        };
        if matches!(old, TCP_SYN_SENT | TCP_SYN_RECV) {
            (*record).flags |= FLAG_FAILED;
        }
        if is_news { BROKEN } else { NONE }
    }
}

/// A socket moved a datagram and has no time of opening yet.
///
/// # Safety
///
/// As for [`connecting`].
#[inline(always)]
pub unsafe fn datagram<const TABLE: bool, const PROBE: bool>(
    sk: Sock<PROBE>,
    record: *mut SocketRecord,
    received: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if sk.protocol() != IPPROTO_UDP
            || sk.state() != TCP_ESTABLISHED
            || (*record).flags & FLAG_OLDER != 0
            || !store::stamp::<TABLE>(sk.0, &raw mut (*record).opened_ns)
        {
            return;
        }
        if received && !doubles::lacks_sent(sk.0) {
            (*record).flags |= FLAG_RECEIVED_FIRST;
        }
        records::keep_addresses(record, sk);
        if wanted() {
            tell(
                OPENED,
                0,
                0,
                sk.0,
                &records::header(sk, sk.0, record),
                record,
            );
        }
    }
}

/// A socket has ended. Nothing is told of one that connected to nobody.
///
/// # Safety
///
/// `sk` is a socket that the program type may pass to `bpf_sk_storage_get`, `record`
/// as for [`connecting`].
#[inline(always)]
pub unsafe fn closed(sk: *mut c_void, header: &SocketHeader, record: *const SocketRecord) {
    if !wanted() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*record).flags;
        let was_connected = if header.protocol == IPPROTO_UDP {
            (*record).opened_ns != 0
                || flags & FLAG_OLDER != 0
                    && header.remote_port_be != 0
                    && (*record).tx_bytes | (*record).rx_bytes != 0
        } else {
            flags & (FLAG_LISTENING | FLAG_FAILED) == 0 && header.remote_port_be != 0
        };
        if was_connected {
            tell(CLOSED, header.state, 0, sk, header, record);
        }
    }
}

/// Tells of a TCP socket, in one place of the program: it is long.
///
/// # Safety
///
/// As for [`connecting`].
#[inline(always)]
pub unsafe fn tell_state<const PROBE: bool>(
    kind: u8,
    old: u8,
    sk: Sock<PROBE>,
    record: *mut SocketRecord,
) {
    if wanted() {
        // SAFETY: the caller's promise.
        unsafe {
            let mut header = records::header(sk, sk.0, record);
            records::add_tcp(&mut header, sk);
            tell(kind, old, sk.error(), sk.0, &header, record);
        }
    }
}

#[inline(always)]
unsafe fn tell(
    kind: u8,
    old_state: u8,
    error: u32,
    sk: *mut c_void,
    header: &SocketHeader,
    record: *const SocketRecord,
) {
    if !matches!(header.protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_MPTCP) {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let (owner, comm) = whose(sk, header, record);
        if owner.start_ns == ProcessKey::TEST.start_ns {
            return;
        }
        let flags = (*record).flags;
        let Some(mut place) = EVENTS.reserve(0) else {
            // An incoming connection's first event stands for two.
            let both = kind == ESTABLISHED && flags & FLAG_INCOMING != 0;
            count(counters::EVENTS_LOST, if both { 2 } else { 1 });
            return;
        };
        let event: *mut ConnectionEvent = place.as_mut_ptr();
        (&raw mut (*event).socket).write(*header);
        (*event).owner = owner;
        (*event).comm = comm;
        (*event).time_ns = bpf_ktime_get_boot_ns();
        (*event).opened_ns = (*record).opened_ns;
        (*event).tx_bytes = (*record).tx_bytes + (*record).shared_tx_bytes;
        (*event).rx_bytes = (*record).rx_bytes + (*record).shared_rx_bytes;
        (*event).error = error;
        (*event).flags = flags;
        (*event).kind = kind;
        (*event).old_state = old_state;
        // Whole arrays would be calls of `memset` and `memmove`, see `processes`.
        let reserved = (&raw mut (*event).reserved).cast::<u16>();
        for part in 0..3 {
            reserved.add(part).write_volatile(0);
        }
        // Wakes the reader only when it has read everything before this one.
        place.submit(0);
    }
}

/// Whose a connection is, and the name of that process.
#[inline(always)]
unsafe fn whose(
    sk: *mut c_void,
    header: &SocketHeader,
    record: *const SocketRecord,
) -> (ProcessKey, [u8; 16]) {
    // SAFETY: the caller's promise; map values are checked for null.
    unsafe {
        let (owner, comm) = ((*record).owner, (*record).comm);
        if owner.start_ns != 0 {
            // It may have another name since.
            return match PROCESSES.get_ptr(owner) {
                Some(process) => (owner, (*process).comm),
                None => (owner, comm),
            };
        }
        if header.kernel != 0 {
            return (ProcessKey::KERNEL, comm);
        }
        let listener = listener(sk, 0);
        if listener.is_null() {
            (ProcessKey::NONE, comm)
        } else {
            ((*listener).owner, (*listener).comm)
        }
    }
}

/// Notes who listens, or that nobody needs to know any more.
///
/// # Safety
///
/// As for [`connecting`].
#[inline(always)]
pub unsafe fn listening<const PROBE: bool>(sk: Sock<PROBE>, record: *const SocketRecord) {
    if in_table() {
        return;
    }
    // SAFETY: the caller's promise; the map value is checked for null.
    unsafe {
        if wanted() {
            let listener = listener(sk.0, BPF_SK_STORAGE_GET_F_CREATE.into());
            if !listener.is_null() {
                (*listener).owner.start_ns = (*record).owner.start_ns;
                (*listener).owner.tgid = (*record).owner.tgid;
                words::copy(&raw const (*record).comm, &raw mut (*listener).comm);
            }
        } else {
            bpf_sk_storage_delete((&raw const LISTENERS).cast_mut().cast(), sk.0);
        }
    }
}

#[inline(always)]
unsafe fn listener(sk: *mut c_void, flags: u64) -> *mut Listener {
    if in_table() {
        // Programs cannot reach socket storage.
        return ptr::null_mut();
    }
    let map = (&raw const LISTENERS).cast_mut().cast();
    // SAFETY: the caller's promise; a null initial value means all zero.
    unsafe { bpf_sk_storage_get(map, sk, ptr::null_mut(), flags) }.cast()
}
