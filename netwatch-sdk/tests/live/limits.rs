//! What is known not to run on some hosts. In CI (`CI=true`) any other test
//! that cannot run is a failure.

use anyhow::anyhow;

use crate::actor::Unavailable;

struct Limit {
    /// The start of the test's name.
    test: &'static str,
    /// What the host said.
    says: &'static str,
    /// Why that is no fault of this crate.
    why: &'static str,
}

const KNOWN: &[Limit] = &[
    Limit {
        test: "refusal-lockdown",
        says: "only in a virtual machine",
        why: "nothing undoes it but a boot",
    },
    Limit {
        test: "switch-",
        says: "only in a virtual machine",
        why: "it changes a setting of the whole host: cargo xtask vm-test",
    },
    Limit {
        test: "cgroup-v1-",
        says: "only in a virtual machine",
        why: "it takes controllers from the whole host: cargo xtask vm-test",
    },
    Limit {
        test: "switch-",
        says: "the kernel has no such switch",
        why: "it cannot be turned off",
    },
    Limit {
        test: "",
        says: "the hook cgroup: it sees no calls",
        why: "payload is a lower bound with it: the test packets-alone asks for the rest",
    },
    Limit {
        test: "closed-ports-",
        says: "hides where its functions are",
        why: "before Linux 5.17 the function that drops a packet says why",
    },
    Limit {
        test: "closed-ports-",
        says: "nor where (it has kfree_skb.part.0)",
        why: "so it was compiled: Debian's 5.10 for arm64",
    },
    Limit {
        test: "dns-translated",
        says: "nft: ",
        why: "there is no nft in a virtual machine",
    },
    Limit {
        test: "tcp-ktls",
        says: "TCP_ULP tls: ENOENT",
        why: "the kernel has no TLS module (CONFIG_TLS)",
    },
    Limit {
        test: "tcp-ktls",
        says: "TLS keys: ENOENT",
        why: "the kernel has no AES-GCM (module gcm and those it needs)",
    },
    Limit {
        test: "late-module",
        says: "only in a virtual machine of its own",
        why: "it takes a module away from all collectors: cargo xtask vm-test --test late-module",
    },
    Limit {
        test: "tcp-ktls-splice",
        says: "payload is not counted of splice",
        why: "the host refuses programs on functions, and the status says what that costs",
    },
    Limit {
        test: "tcp-sockmap-splice",
        says: "payload is not counted of splice",
        why: "the host refuses programs on functions, and the status says what that costs",
    },
    Limit {
        test: "tcp-sockmap",
        says: "sockmap: EINVAL",
        why: "the kernel has no sockmaps for TCP (CONFIG_BPF_STREAM_PARSER, before 5.13)",
    },
    Limit {
        test: "udp-segment-gro",
        says: "UDP_GRO: nothing was coalesced",
        why: "older kernels cut datagrams apart on loopback too",
    },
    Limit {
        test: "mptcp",
        says: "socket of IPPROTO_MPTCP",
        why: "the kernel has no multipath TCP (5.6 on, CONFIG_MPTCP)",
    },
    Limit {
        test: "mptcp-one-cookie",
        says: "one cookie: this kernel gives each socket its own",
        why: "the shape is about a kernel that does not",
    },
    Limit {
        test: "tcp-ring-zerocopy",
        says: "io_uring send_zc",
        why: "send_zc came with Linux 6.0",
    },
    Limit {
        test: "tcp-ring",
        says: "io_uring_setup: Function not implemented",
        why: "io_uring came with Linux 5.1",
    },
    Limit {
        test: "tcp-ring-polled",
        says: "io_uring_setup with SQPOLL: Function not implemented",
        why: "io_uring came with Linux 5.1",
    },
    Limit {
        test: "tcp-ring-polled",
        says: "of registered files only",
        why: "any other file can be polled for since Linux 5.11",
    },
    Limit {
        test: "udp-ring",
        says: "io_uring_setup: Function not implemented",
        why: "io_uring came with Linux 5.1",
    },
    Limit {
        test: "udp-segment-gro",
        says: "UDP_GRO: ENOPROTOOPT",
        why: "UDP_GRO came with Linux 5.0",
    },
    Limit {
        test: "udp-zerocopy-send",
        says: "SO_ZEROCOPY: ",
        why: "MSG_ZEROCOPY of UDP came with Linux 5.0",
    },
    Limit {
        test: "rtt",
        says: "netem: ",
        why: "the kernel has no network emulator (module sch_netem)",
    },
    Limit {
        test: "loss",
        says: "netem: ",
        why: "the kernel has no network emulator (module sch_netem)",
    },
    Limit {
        test: "conservation-udp-segment",
        says: "cannot describe such an offloaded packet",
        why: "packet sockets describe UDP_SEGMENT since Linux 6.2",
    },
    Limit {
        test: "tcp-zerocopy-receive",
        says: "TCP_ZEROCOPY_RECEIVE: the kernel mapped no page",
        why: "loopback delivered no whole pages",
    },
    Limit {
        test: "missed-runs",
        says: "the kernel skipped no run",
        why: "before Linux 6.1 programs on tracepoints run inside each other; one CPU has no other",
    },
    Limit {
        test: "preempted-",
        says: "the kernel skipped no run",
        why: "the kernel does not preempt kernel programs here",
    },
    Limit {
        test: "missed-runs",
        says: "packets cannot be steered",
        why: "the kernel cannot hand packets to another CPU (CONFIG_RPS)",
    },
];

/// What `test` cannot do here, with the reason that is known for it. In CI only those
/// with a known reason are no failure.
pub(crate) fn explain(test: &str, reason: &str) -> anyhow::Error {
    // The same shapes, other backends.
    let test = test.strip_prefix("userspace-").unwrap_or(test);
    let known = KNOWN
        .iter()
        .find(|limit| test.starts_with(limit.test) && reason.contains(limit.says));
    match known {
        Some(limit) => Unavailable(format!("{reason} ({})", limit.why)).into(),
        None if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            anyhow!("cannot run here, for a reason that is not known: {reason}")
        }
        None => Unavailable(reason.to_owned()).into(),
    }
}
