//! What a rung can do without: ways that bytes take, and the programs that see them.

use super::{Program, fexit, kprobe};

/// A way that bytes take, and the programs that see it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Path {
    /// Its name in the status.
    pub(in super::super) name: &'static str,
    /// No bytes take it in a kernel without this function.
    pub(in super::super) function: &'static str,
    /// Nor in one with this function, which does its work.
    pub(in super::super) unless: Option<&'static str>,
    /// The function is in this module, which may be loaded later.
    pub(in super::super) module: Option<&'static str>,
    /// All of them must attach for its bytes to be counted.
    pub(in super::super) programs: &'static [Program],
}

/// What `splice` reads of a socket whose stream others read.
pub(super) const SPLICE_READ: Path = Path {
    name: "splice from sockets under kernel TLS and in sockmaps",
    function: "sock_splice_read",
    unless: None,
    module: None,
    programs: &[fexit("sock_splice_read", 5)],
};

/// Of the rung `kprobe`.
pub(super) const KPROBE_PATHS: &[Path] = &[
    Path {
        name: "UDP sent by IPv6 sockets",
        function: "udpv6_sendmsg",
        unless: None,
        module: Some("ipv6"),
        programs: &[
            kprobe("send_call", "udpv6_sendmsg"),
            kprobe("send_return", "udpv6_sendmsg"),
        ],
    },
    Path {
        name: "UDP sent by sendfile and splice",
        function: "ip_append_page",
        unless: None,
        module: None,
        programs: &[
            kprobe("page_call", "ip_append_page"),
            kprobe("page_return", "ip_append_page"),
        ],
    },
    Path {
        name: "raw sockets of IPv4",
        function: "raw_sendmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "raw_sendmsg"),
            kprobe("send_return", "raw_sendmsg"),
            kprobe("receive_call", "raw_recvmsg"),
            kprobe("receive_return", "raw_recvmsg"),
        ],
    },
    Path {
        name: "raw sockets of IPv6",
        function: "rawv6_sendmsg",
        unless: None,
        module: Some("ipv6"),
        programs: &[
            kprobe("send_call", "rawv6_sendmsg"),
            kprobe("send_return", "rawv6_sendmsg"),
            kprobe("receive_call", "rawv6_recvmsg"),
            kprobe("receive_return", "rawv6_recvmsg"),
        ],
    },
    Path {
        name: "ping sockets",
        function: "ping_recvmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "ping_v4_sendmsg"),
            kprobe("send_return", "ping_v4_sendmsg"),
            kprobe("send_call", "ping_v6_sendmsg"),
            kprobe("send_return", "ping_v6_sendmsg"),
            kprobe("receive_call", "ping_recvmsg"),
            kprobe("receive_return", "ping_recvmsg"),
        ],
    },
    Path {
        name: "multipath TCP",
        function: "mptcp_sendmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "mptcp_sendmsg"),
            kprobe("send_return", "mptcp_sendmsg"),
            kprobe("receive_call", "mptcp_recvmsg"),
            kprobe("receive_return", "mptcp_recvmsg"),
        ],
    },
    Path {
        name: "messages to sockmaps",
        function: "tcp_bpf_sendmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "tcp_bpf_sendmsg"),
            kprobe("send_return", "tcp_bpf_sendmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        function: "__sk_msg_recvmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("given_call", "__sk_msg_recvmsg"),
            kprobe("receive_return", "__sk_msg_recvmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        function: "sk_msg_recvmsg",
        unless: Some("__sk_msg_recvmsg"),
        module: None,
        programs: &[
            kprobe("given_call", "sk_msg_recvmsg"),
            kprobe("receive_return", "sk_msg_recvmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        function: "__tcp_bpf_recvmsg",
        unless: None,
        module: None,
        programs: &[
            kprobe("given_call", "__tcp_bpf_recvmsg"),
            kprobe("receive_return", "__tcp_bpf_recvmsg"),
        ],
    },
    Path {
        name: "pages to sockmaps",
        function: "tcp_bpf_sendpage",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "tcp_bpf_sendpage"),
            kprobe("send_return", "tcp_bpf_sendpage"),
        ],
    },
    Path {
        name: "kernel TLS",
        function: "tls_sw_sendmsg",
        unless: None,
        module: Some("tls"),
        programs: &[
            kprobe("send_call", "tls_sw_sendmsg"),
            kprobe("send_return", "tls_sw_sendmsg"),
            kprobe("receive_call", "tls_sw_recvmsg"),
            kprobe("receive_return", "tls_sw_recvmsg"),
        ],
    },
    Path {
        name: "sendfile and splice to kernel TLS",
        function: "tls_sw_sendpage",
        unless: None,
        module: Some("tls"),
        programs: &[
            kprobe("send_call", "tls_sw_sendpage"),
            kprobe("send_return", "tls_sw_sendpage"),
        ],
    },
    Path {
        name: "splice from sockets under kernel TLS",
        function: "sock_splice_read",
        unless: None,
        module: None,
        programs: &[
            kprobe("splice_call", "sock_splice_read"),
            kprobe("receive_return", "sock_splice_read"),
        ],
    },
];
