//! The rung `cgroup`: programs of the cgroup v2 root alone, for hosts that refuse
//! tracing programs. They need neither the kernel's BTF nor `CAP_PERFMON`.
//!
//! | hook | context | since |
//! |---|---|---|
//! | `cgroup_skb` ingress and egress | a packet and its socket | 5.1 |
//! | `cgroup/sock_create`, `cgroup/sock_release` | `socket(2)`, the last `close(2)` | 5.9 |
//! | `sock_ops` | connections that begin, listen and end | 4.13 |
//!
//! Packets are as exact as in [`packets`](crate::packets). No program sees a call, so
//! payload is what TCP itself counted; and none sees a process but the maker of a
//! socket, so what a listener accepts is its maker's. Ended sockets stay in `FLOWS`
//! until the SDK has read them. Writes `FLOWS`, `OWNERS`, `COUNTERS`.

use core::{ffi::c_void, mem, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_get_socket_uid, bpf_ktime_get_boot_ns,
        bpf_sk_cgroup_id, bpf_sk_fullsock, bpf_sk_storage_get, bpf_sock_ops_cb_flags_set,
        bpf_tcp_sock, generated::bpf_get_current_comm,
    },
    macros::{cgroup_skb, cgroup_sock, sock_ops},
    programs::{SkBuffContext, SockContext, SockOpsContext},
};
use netwatch_common::{
    counters,
    flow::{Flow, Owner},
    process::ProcessKey,
    socket::{FLAG_ENDED, FLAG_INCOMING, FLAG_LISTENING, FLAG_OUTGOING},
};

use crate::{
    kernel::{AF_INET6, IPPROTO_TCP, TCP_CLOSE},
    maps::{FLOWS, OWNERS, count, tester},
    packets::{self, PASS},
    words,
};

const ALLOW: i32 = 1;
const TCP_LISTEN: u32 = 10;
const DIRECTIONS: u32 = FLAG_INCOMING | FLAG_OUTGOING | FLAG_LISTENING;

/// 1 where these programs may ask for a name, which takes `CAP_PERFMON`. Patched before
/// they are loaded.
#[unsafe(no_mangle)]
static NAMES: u32 = 0;

/// A new flow. A constant of the object: it is too large for the stack of a program.
static NEW: Flow = {
    // SAFETY: integers and byte arrays, for which zero is a value.
    let mut new: Flow = unsafe { mem::zeroed() };
    new.row.header.mdev_4us = u32::MAX;
    new.row.header.min_rtt_us = u32::MAX;
    new.row.header.attached = 1;
    new
};

/// A packet arrived at a socket.
#[cgroup_skb(ingress)]
pub fn flow_ingress(ctx: SkBuffContext) -> i32 {
    packet::<false>(&ctx);
    PASS
}

/// A packet left a socket.
#[cgroup_skb(egress)]
pub fn flow_egress(ctx: SkBuffContext) -> i32 {
    packet::<true>(&ctx);
    PASS
}

#[inline(always)]
fn packet<const EGRESS: bool>(ctx: &SkBuffContext) {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the program's context; sockets are checked for null.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return;
        }
        let cookie = bpf_get_socket_cookie(skb.cast());
        let Some((flow, is_new)) = find_or_make(cookie, sk.cast()) else {
            count(counters::UNTRACKED_PACKETS, 1);
            return;
        };
        // `sock_ops` has neither.
        if (*flow).row.header.cgroup_id == 0 {
            (*flow).row.header.uid = bpf_get_socket_uid(skb);
            (*flow).row.header.cgroup_id = bpf_sk_cgroup_id(sk.cast());
        }
        // After its end a reset clears the addresses.
        if (*flow).row.record.flags & FLAG_ENDED == 0 {
            describe(flow, sk, is_new);
        }
        packets::add::<EGRESS>(ctx, &raw mut (*flow).row.record.wire);
    }
}

/// The flow of a socket, and whether it was just made; `None` when there is no room.
///
/// # Safety
///
/// `sk` is a socket that the program may pass to `bpf_sk_storage_get`, not null.
#[inline(always)]
unsafe fn find_or_make(cookie: u64, sk: *mut c_void) -> Option<(*mut Flow, bool)> {
    if let Some(flow) = FLOWS.get_ptr_mut(cookie) {
        return Some((flow, false));
    }
    // Another may have made it meanwhile: then that one counts.
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "a copy would be on the stack"
    )]
    let _ = FLOWS.insert(cookie, &NEW, BPF_NOEXIST.into());
    let flow = FLOWS.get_ptr_mut(cookie)?;
    // SAFETY: a map value, checked for null; the caller's promise.
    unsafe {
        (*flow).row.header.cookie = cookie;
        (*flow).seen_ns = bpf_ktime_get_boot_ns();
        let owner = owner_of(sk, 0);
        if !owner.is_null() {
            let record = &raw mut (*flow).row.record;
            words::copy(&raw const (*owner).key, &raw mut (*record).owner);
            words::copy(&raw const (*owner).comm, &raw mut (*record).comm);
        }
    }
    Some((flow, true))
}

/// # Safety
///
/// As for [`find_or_make`].
#[inline(always)]
unsafe fn owner_of(sk: *mut c_void, flags: u64) -> *mut Owner {
    // SAFETY: the caller's promise; a null initial value means all zero.
    unsafe {
        bpf_sk_storage_get(
            (&raw const OWNERS).cast_mut().cast(),
            sk,
            ptr::null_mut(),
            flags,
        )
        .cast()
    }
}

/// What the kernel says of a socket now.
///
/// # Safety
///
/// `flow` is a value of `FLOWS`, `sk` a full socket; both checked for null.
#[inline(always)]
unsafe fn describe(flow: *mut Flow, sk: *mut bpf_sock, is_new: bool) {
    // SAFETY: the caller's promise. Volatile: each field is a load of its own, in the
    // width that the kernel allows.
    unsafe {
        let header = &raw mut (*flow).row.header;
        let word = |field: *const u32| field.read_volatile();
        let two = |field: *const u32| {
            u64::from(field.read_volatile()) | u64::from(field.add(1).read_volatile()) << 32
        };
        let family = word(&raw const (*sk).family) as u16;
        (*header).family = family;
        (*header).protocol = word(&raw const (*sk).protocol) as u16;
        (*header).state = word(&raw const (*sk).state) as u8;
        (*header).local_port = word(&raw const (*sk).src_port) as u16;
        (*header).remote_port_be = (&raw const (*sk).dst_port).read_volatile();
        if family == AF_INET6 {
            let (local, remote) = (
                (&raw const (*sk).src_ip6).cast::<u32>(),
                (&raw const (*sk).dst_ip6).cast::<u32>(),
            );
            (*header).local = [two(local), two(local.add(2))];
            (*header).remote = [two(remote), two(remote.add(2))];
        } else {
            (*header).local = [word(&raw const (*sk).src_ip4).into(), 0];
            (*header).remote = [word(&raw const (*sk).dst_ip4).into(), 0];
        }
        if (*header).protocol != IPPROTO_TCP {
            return;
        }
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() {
            return;
        }
        (*header).srtt_8us = word(&raw const (*tcp).srtt_us);
        (*header).min_rtt_us = word(&raw const (*tcp).rtt_min);
        (*header).retransmits = word(&raw const (*tcp).total_retrans);
        let received = (&raw const (*tcp).bytes_received).read_volatile();
        let acked = (&raw const (*tcp).bytes_acked).read_volatile();
        (*flow).row.record.rx_bytes = received;
        (*flow).row.record.tx_bytes = acked;
        if is_new {
            (*flow).rx_before = received;
            (*flow).tx_before = acked;
        }
    }
}

/// A process makes a socket: it owns it.
#[cgroup_sock(sock_create)]
pub fn flow_create(ctx: SockContext) -> i32 {
    // SAFETY: the program's context is the socket.
    let owner = unsafe { owner_of(ctx.as_ptr(), BPF_SK_STORAGE_GET_F_CREATE.into()) };
    if owner.is_null() {
        count(counters::UNTRACKED_CALLS, 1);
        return ALLOW;
    }
    let thread = bpf_get_current_pid_tgid();
    let (start_ns, tgid) = if thread == tester() {
        (ProcessKey::TEST.start_ns, ProcessKey::TEST.tgid)
    } else {
        (ProcessKey::START_UNKNOWN, (thread >> 32) as u32)
    };
    // SAFETY: socket storage, checked for null.
    unsafe {
        (*owner).key.start_ns = start_ns;
        (*owner).key.tgid = tgid;
        if ptr::read_volatile(&raw const NAMES) != 0 {
            // Into the map itself; there always is a task.
            bpf_get_current_comm((&raw mut (*owner).comm).cast(), 16);
        }
    }
    ALLOW
}

/// The last file of a socket is closed. TCP goes on until its peer has everything.
#[cgroup_sock(sock_release)]
pub fn flow_release(ctx: SockContext) -> i32 {
    // SAFETY: the program's context is the socket.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if let Some(flow) = FLOWS.get_ptr_mut(cookie) {
        // SAFETY: a map value, checked for null.
        unsafe {
            (*flow).row.header.attached = 0;
            if (*flow).row.header.protocol != IPPROTO_TCP {
                (*flow).row.record.flags |= FLAG_ENDED;
            }
        }
    }
    ALLOW
}

/// A TCP socket connects, listens, is accepted or ends.
#[sock_ops]
pub fn flow_state(ctx: SockOpsContext) -> u32 {
    // SAFETY: the program's context.
    unsafe { state(&ctx) };
    ALLOW as u32
}

#[inline(always)]
unsafe fn state(ctx: &SockOpsContext) {
    let direction = match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB | BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => FLAG_OUTGOING,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => FLAG_INCOMING,
        BPF_SOCK_OPS_TCP_LISTEN_CB => FLAG_LISTENING,
        BPF_SOCK_OPS_STATE_CB => 0,
        _ => return,
    };
    // SAFETY: the program's context; the socket and the flow are checked for null.
    unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        if sk.is_null() {
            return;
        }
        let cookie = bpf_get_socket_cookie(ctx.as_ptr());
        if direction == 0 {
            if ctx.arg(1) == TCP_CLOSE.into()
                && let Some(flow) = FLOWS.get_ptr_mut(cookie)
            {
                (*flow).last_state = ctx.arg(0);
                let ops = ctx.ops;
                if (*flow).row.record.flags & FLAG_LISTENING == 0 {
                    (*flow).row.record.rx_bytes = (*ops).bytes_received;
                    (*flow).row.record.tx_bytes = (*ops).bytes_acked;
                    (*flow).row.header.retransmits = (*ops).total_retrans;
                }
                (*flow).row.header.state = TCP_CLOSE;
                (*flow).row.record.flags |= FLAG_ENDED;
            }
            return;
        }
        let Some((flow, is_new)) = find_or_make(cookie, sk.cast()) else {
            count(counters::UNTRACKED_CALLS, 1);
            return;
        };
        let flags = (*flow).row.record.flags & !(DIRECTIONS | FLAG_ENDED);
        (*flow).row.record.flags = flags | direction;
        describe(flow, sk, is_new);
        if direction == FLAG_LISTENING {
            (*flow).row.header.state = TCP_LISTEN as u8;
        }
        // Others may have asked for more.
        let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
        (*flow).end_is_seen = u32::from(bpf_sock_ops_cb_flags_set(ctx.ops, flags as i32) == 0);
    }
}
