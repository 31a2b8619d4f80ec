//! What is known not to run on some hosts. In CI (`CI=true`) any other test
//! that cannot run is a failure.

use libtest_mimic::{Completion, Failed};

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
        test: "",
        says: "the hook cgroup: it sees no calls",
        why: "payload is a lower bound with it: the test packets-alone asks for the rest",
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
        test: "tcp-zerocopy-receive",
        says: "TCP_ZEROCOPY_RECEIVE: the kernel mapped no page",
        why: "loopback delivered no whole pages",
    },
];

/// The outcome of a test: passed, failed, or cannot run here and says why.
pub(crate) fn outcome(test: &str, result: anyhow::Result<()>) -> Result<Completion, Failed> {
    let Err(error) = result else {
        return Ok(Completion::Completed);
    };
    let Some(Unavailable(reason)) = error.downcast_ref::<Unavailable>() else {
        return Err(Failed::from(format!("{error:#}")));
    };
    let known = KNOWN
        .iter()
        .find(|limit| test.starts_with(limit.test) && reason.contains(limit.says));
    let said = match known {
        Some(limit) => format!("cannot run here: {reason} ({})", limit.why),
        None => format!("cannot run here: {reason}"),
    };
    eprintln!("{test}: {said}");
    if known.is_none() && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(Failed::from(said));
    }
    Ok(Completion::ignored_with(said))
}
