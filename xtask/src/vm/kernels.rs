//! The kernels of the matrix: Debian's, the oldest that is supported first, those of arm64 later, User Mode Linux last.

use super::architecture::{AMD64, ARM64, Architecture, USER_MODE};

/// A kernel that is tested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    /// What tasks and tables call it.
    pub(crate) name: &'static str,
    pub(super) architecture: &'static Architecture,
    /// The suite of Debian's archive that has it.
    pub(crate) suite: &'static str,
    /// The packages that together make it; `*` stands for the version.
    pub(crate) packages: &'static [&'static str],
    /// The hooks by which calls can be counted on it, best first.
    pub(crate) hooks: &'static [&'static str],
}

const EVERY_HOOK: &[&str] = &["tp_btf", "fentry", "kprobe"];
/// The tracepoints that tell return values came with 6.3; trampolines on these functions
/// can be taken off without risk since 6.9.
const KPROBE: &[&str] = &["kprobe"];

pub(crate) const KERNELS: [Kernel; 12] = [
    Kernel {
        name: "5.10",
        architecture: &AMD64,
        suite: "bullseye-security",
        packages: &["linux-image-5.10.0-*-cloud-amd64"],
        hooks: KPROBE,
    },
    Kernel {
        name: "6.1",
        architecture: &AMD64,
        suite: "bookworm-security",
        packages: &["linux-image-6.1.0-*-cloud-amd64"],
        hooks: KPROBE,
    },
    Kernel {
        name: "6.12",
        architecture: &AMD64,
        suite: "bookworm-security",
        packages: &["linux-image-6.12.*-cloud-amd64"],
        hooks: EVERY_HOOK,
    },
    Kernel {
        name: "6.18",
        architecture: &AMD64,
        suite: "trixie-backports",
        packages: &["linux-image-6.18.*-cloud-amd64"],
        hooks: EVERY_HOOK,
    },
    Kernel {
        name: "7.3",
        architecture: &AMD64,
        suite: "trixie-backports",
        packages: &[
            "linux-binary-7.3.*-cloud-amd64",
            "linux-modules-7.3.*-cloud-amd64",
            "linux-base-7.3.*-cloud-amd64",
        ],
        hooks: EVERY_HOOK,
    },
    Kernel {
        name: "5.10-arm64",
        architecture: &ARM64,
        // Its security updates are for amd64 only.
        suite: "bullseye",
        packages: &["linux-image-5.10.0-*-cloud-arm64"],
        hooks: KPROBE,
    },
    Kernel {
        name: "6.1-arm64",
        architecture: &ARM64,
        suite: "bookworm-security",
        packages: &["linux-image-6.1.0-*-cloud-arm64"],
        hooks: KPROBE,
    },
    Kernel {
        name: "6.12-arm64",
        architecture: &ARM64,
        suite: "bookworm-security",
        packages: &["linux-image-6.12.*-cloud-arm64"],
        hooks: EVERY_HOOK,
    },
    Kernel {
        // Pages of 16 KiB.
        name: "6.12-arm64-16k",
        architecture: &ARM64,
        suite: "bookworm-security",
        packages: &["linux-image-6.12.*-arm64-16k"],
        hooks: EVERY_HOOK,
    },
    Kernel {
        name: "7.3-arm64",
        architecture: &ARM64,
        suite: "trixie-backports",
        packages: &[
            "linux-binary-7.3.*-cloud-arm64",
            "linux-modules-7.3.*-cloud-arm64",
            "linux-base-7.3.*-cloud-arm64",
        ],
        hooks: EVERY_HOOK,
    },
    // It has neither BTF nor kprobes, no tracepoints and no compiler of kernel programs.
    Kernel {
        name: "uml-5.10",
        architecture: &USER_MODE,
        suite: "bullseye",
        packages: &["user-mode-linux"],
        hooks: &[],
    },
    Kernel {
        name: "uml-6.1",
        architecture: &USER_MODE,
        suite: "bookworm",
        packages: &["user-mode-linux"],
        hooks: &[],
    },
];

impl Kernel {
    /// User Mode Linux: the kernel is a program.
    pub(super) fn is_user_mode(&self) -> bool {
        self.architecture.qemu.is_none()
    }

    /// What it has to load.
    pub(super) fn modules(&self) -> impl Iterator<Item = &'static str> {
        MODULES
            .into_iter()
            .chain(self.is_user_mode().then_some("ipv6"))
    }
}

/// Modules that the live tests use, and with them those they depend on.
const MODULES: [&str; 11] = [
    // What the collector asks the kernel with.
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "mptcp_diag",
    // Two namespaces joined by a wire with delay and loss.
    "veth",
    "sch_netem",
    // Kernel TLS and the cipher of its test.
    "tls",
    "gcm",
    "ctr",
    "aes_generic",
    "ghash_generic",
];
