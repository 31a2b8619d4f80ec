//! netwatch's kernel programs: they count in maps, the SDK reads the maps.
//!
//! | file | hooks |
//! |---|---|
//! | `payload` | tp_btf `sock_send_length`, `sock_recv_length`, `tcp_rcv_space_adjust` |
//! | `fexit` | fexit `inet_sendmsg`, `inet_recvmsg`, `inet6_sendmsg`, `inet6_recvmsg` |
//! | `doubles` | those of `payload` and `fexit` once more, for runs that the kernel skips |
//! | `kprobes` | kprobes and kretprobes `release_sock`, `skb_consume_udp`, `udp_sendmsg`, … |
//! | `flows` | those of the rung `cgroup`: `cgroup_skb`, `cgroup/sock_create`, `cgroup/sock_release`, `sock_ops` |
//! | `packets` | `cgroup_skb` ingress and egress |
//! | `lifecycle` | `cgroup/sock_create`, `cgroup/sock_release`, `sockops`, tp_btf `inet_sock_set_state`, `tcp_destroy_sock` |
//! | `lifecycle_kprobes` | kprobes `sock_init_data`, `inet_release`, `inet_sock_destruct`; `cgroup/sock_create` |
//! | `tasks` | tp_btf `task_rename`, `sched_process_exit` |
//! | `closed_ports` | tp_btf `kfree_skb` |
//! | `iterators` | `iter/task_file`, `iter/bpf_sk_storage_map`, `iter/bpf_map_elem` |
//!
//! `kernel` reads kernel structures, `records` and `processes` keep the two kinds
//! of totals, `store` finds a socket's record, `events` tells of connections, `dns` of
//! DNS messages, `maps` holds the maps. Nothing else writes a record per call or packet.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "atomics exist on this target only as intrinsics"
)]
#![expect(unreachable_pub, reason = "a program without a library has no outside")]

mod atomic;
mod closed_ports;
mod dns;
mod doubles;
mod events;
mod fexit;
mod flows;
mod iterators;
mod kernel;
mod kprobes;
mod lifecycle;
mod lifecycle_kprobes;
mod maps;
mod packets;
mod payload;
mod processes;
mod records;
mod store;
mod tasks;
mod words;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
