//! What a rung can do without: ways that bytes take, and the programs that see them.

use super::{Place, Program, fexit, kprobe};

/// A way that bytes take, and the programs that see it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Path {
    /// Its name in the status.
    pub(in super::super) name: &'static str,
    /// No bytes take it in a kernel with this function, that of an earlier path.
    pub(in super::super) unless: Option<&'static str>,
    /// Its first function is in this module, which may be loaded later.
    pub(in super::super) module: Option<&'static str>,
    /// All of them must attach for its bytes to be counted. No bytes take it in a kernel
    /// without the function of the first.
    pub(in super::super) programs: &'static [Program],
}

impl Path {
    /// The function of its first program.
    pub(in super::super) fn function(&self) -> Option<&'static str> {
        match self.programs.first()?.place {
            Place::KProbe(function) | Place::FExit(function, _) => Some(function),
            _ => None,
        }
    }
}

/// What `splice` reads of a socket whose stream others read.
pub(super) const SPLICE_READ: Path = Path {
    name: "splice from sockets under kernel TLS and in sockmaps",
    unless: None,
    module: None,
    programs: &[fexit("sock_splice_read", 5)],
};

/// Of the rung `kprobe`.
pub(super) const KPROBE_PATHS: &[Path] = &[
    Path {
        name: "UDP sent by IPv6 sockets",
        unless: None,
        module: Some("ipv6"),
        programs: &[
            kprobe("send_call", "udpv6_sendmsg"),
            kprobe("send_return", "udpv6_sendmsg"),
        ],
    },
    Path {
        name: "UDP sent by sendfile and splice",
        unless: None,
        module: None,
        programs: &[
            kprobe("page_call", "ip_append_page"),
            kprobe("page_return", "ip_append_page"),
        ],
    },
    Path {
        name: "raw sockets of IPv4",
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
        unless: None,
        module: None,
        programs: &[
            kprobe("receive_call", "ping_recvmsg"),
            kprobe("receive_return", "ping_recvmsg"),
            kprobe("send_call", "ping_v4_sendmsg"),
            kprobe("send_return", "ping_v4_sendmsg"),
            kprobe("send_call", "ping_v6_sendmsg"),
            kprobe("send_return", "ping_v6_sendmsg"),
        ],
    },
    Path {
        name: "multipath TCP",
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
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "tcp_bpf_sendmsg"),
            kprobe("send_return", "tcp_bpf_sendmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        unless: None,
        module: None,
        programs: &[
            kprobe("given_call", "__sk_msg_recvmsg"),
            kprobe("receive_return", "__sk_msg_recvmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        unless: Some("__sk_msg_recvmsg"),
        module: None,
        programs: &[
            kprobe("given_call", "sk_msg_recvmsg"),
            kprobe("receive_return", "sk_msg_recvmsg"),
        ],
    },
    Path {
        name: "messages from sockmaps",
        unless: None,
        module: None,
        programs: &[
            kprobe("given_call", "__tcp_bpf_recvmsg"),
            kprobe("receive_return", "__tcp_bpf_recvmsg"),
        ],
    },
    Path {
        name: "pages to sockmaps",
        unless: None,
        module: None,
        programs: &[
            kprobe("send_call", "tcp_bpf_sendpage"),
            kprobe("send_return", "tcp_bpf_sendpage"),
        ],
    },
    Path {
        name: "kernel TLS",
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
        unless: None,
        module: Some("tls"),
        programs: &[
            kprobe("send_call", "tls_sw_sendpage"),
            kprobe("send_return", "tls_sw_sendpage"),
        ],
    },
    Path {
        name: "splice from sockets under kernel TLS",
        unless: None,
        module: None,
        programs: &[
            kprobe("splice_call", "sock_splice_read"),
            kprobe("receive_return", "sock_splice_read"),
        ],
    },
];
