//! The global `OFFSETS`: byte offsets of kernel structure fields, and the bit
//! offset of the one field that is a bit field.
//!
//! Rust emits no CO-RE relocations. The loader looks each field up in the running
//! kernel's BTF and writes its offset here before the programs are loaded. The
//! verifier knows the value, checks the access against the same BTF, and refuses
//! a wrong one at load.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The value of an offset whose field this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($field:ident: $structure:literal . $path:literal,)*) => {
        /// Byte offsets, named after structure and field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct Offsets {
            $(
                #[doc = concat!("`", $structure, ".", $path, "`")]
                pub $field: u32,
            )*
        }

        impl Offsets {
            /// Every field absent.
            pub const NONE: Self = Self { $($field: ABSENT,)* };

            /// Structure and field path of every offset, in order of declaration.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$(($structure, $path),)*];
        }
    };
}

offsets! {
    sock_family: "sock" . "__sk_common.skc_family",
    sock_state: "sock" . "__sk_common.skc_state",
    sock_local_port: "sock" . "__sk_common.skc_num",
    sock_remote_port: "sock" . "__sk_common.skc_dport",
    sock_local_v4: "sock" . "__sk_common.skc_rcv_saddr",
    sock_remote_v4: "sock" . "__sk_common.skc_daddr",
    sock_local_v6: "sock" . "__sk_common.skc_v6_rcv_saddr",
    sock_remote_v6: "sock" . "__sk_common.skc_v6_daddr",
    sock_net: "sock" . "__sk_common.skc_net.net",
    sock_cookie: "sock" . "__sk_common.skc_cookie.counter",
    sock_flags: "sock" . "__sk_common.skc_flags",
    sock_error: "sock" . "sk_err",
    sock_protocol: "sock" . "sk_protocol",
    sock_uid: "sock" . "sk_uid",
    sock_socket: "sock" . "sk_socket",
    sock_user_data: "sock" . "sk_user_data",
    sock_kernel_bit: "sock" . "sk_kern_sock",
    sock_cgroup: "sock" . "sk_cgrp_data.cgroup",
    sock_cgroup_bits: "sock" . "sk_cgrp_data.val",
    net_cookie: "net" . "net_cookie",
    net_inode: "net" . "ns.inum",
    cgroup_kn: "cgroup" . "kn",
    kernfs_node_id: "kernfs_node" . "id",
    socket_sk: "socket" . "sk",
    tcp_local_port: "tcp_sock" . "inet_conn.icsk_inet.inet_sport",
    tcp_copied_seq: "tcp_sock" . "copied_seq",
    tcp_write_seq: "tcp_sock" . "write_seq",
    tcp_snd_una: "tcp_sock" . "snd_una",
    tcp_packets_out: "tcp_sock" . "packets_out",
    tcp_bytes_acked: "tcp_sock" . "bytes_acked",
    tcp_repair_bit: "tcp_sock" . "repair",
    tcp_rcv_nxt: "tcp_sock" . "rcv_nxt",
    tcp_bytes_received: "tcp_sock" . "bytes_received",
    tcp_srtt: "tcp_sock" . "srtt_us",
    tcp_mdev: "tcp_sock" . "mdev_us",
    tcp_rtt_min: "tcp_sock" . "rtt_min.s.v",
    tcp_retransmits: "tcp_sock" . "total_retrans",
    tcp_ulp: "tcp_sock" . "inet_conn.icsk_ulp_ops",
    tcp_ulp_data: "tcp_sock" . "inet_conn.icsk_ulp_data",
    ulp_name: "tcp_ulp_ops" . "name",
    tls_tx_bits: "tls_context" . "tx_conf",
    tls_rx_bits: "tls_context" . "rx_conf",
    psock_msg_program: "sk_psock" . "progs.msg_parser",
    psock_stream_program: "sk_psock" . "progs.stream_verdict",
    psock_skb_program: "sk_psock" . "progs.skb_verdict",
    event_sk: "trace_event_raw_sock_msg_length" . "sk",
    event_result: "trace_event_raw_sock_msg_length" . "ret",
    event_flags: "trace_event_raw_sock_msg_length" . "flags",
    task_leader: "task_struct" . "group_leader",
    task_tgid: "task_struct" . "tgid",
    task_flags: "task_struct" . "flags",
    task_start: "task_struct" . "start_boottime",
    task_comm: "task_struct" . "comm",
    task_signal: "task_struct" . "signal",
    task_cgroups: "task_struct" . "cgroups",
    css_set_cgroup: "css_set" . "dfl_cgrp",
    signal_live: "signal_struct" . "live.counter",
    file_data: "file" . "private_data",
    file_inode: "file" . "f_inode",
    inode_super: "inode" . "i_sb",
    super_magic: "super_block" . "s_magic",
    skb_device: "sk_buff" . "skb_iif",
    skb_head: "sk_buff" . "head",
    skb_network: "sk_buff" . "network_header",
    skb_transport: "sk_buff" . "transport_header",
}

const _: () = assert!(size_of::<Offsets>() == 4 * Offsets::FIELDS.len());
