//! The processors that the kernels are for, real or emulated, and what of a machine differs by them.

/// A processor.
#[derive(Debug)]
pub(super) struct Architecture {
    /// What Debian calls it.
    pub(super) debian: &'static str,
    /// What Rust calls a Linux program for it.
    pub(super) target: &'static str,
    /// The packages that emulate it, and link programs for it.
    pub(super) packages: &'static [&'static str],
    /// What emulates it. Nothing where the kernel is a program itself: User Mode Linux.
    pub(super) qemu: Option<&'static str>,
    /// The processor, the board and its second serial port.
    pub(super) machine: &'static [&'static str],
    /// The kernel's name for the first serial port, which QEMU's `-serial` is.
    pub(super) console: &'static str,
    /// And for the second.
    pub(super) reports: &'static str,
}

pub(super) static AMD64: Architecture = Architecture {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    packages: &["busybox-static", "qemu-system-x86"],
    qemu: Some("qemu-system-x86_64"),
    machine: &[
        "-machine",
        "q35",
        "-cpu",
        "max",
        "-device",
        "isa-serial,chardev=reports",
    ],
    console: "ttyS0",
    reports: "ttyS1",
};

pub(super) static ARM64: Architecture = Architecture {
    debian: "arm64",
    target: "aarch64-unknown-linux-gnu",
    packages: &[
        "gcc-aarch64-linux-gnu",
        "libc6-dev-arm64-cross",
        "qemu-system-arm",
    ],
    qemu: Some("qemu-system-aarch64"),
    // `max` signs pointers, which is slow to emulate.
    machine: &[
        "-machine",
        "virt",
        "-cpu",
        "neoverse-n1",
        "-device",
        "pci-serial,chardev=reports",
    ],
    console: "ttyAMA0",
    reports: "ttyS0",
};

/// This host's processor, for programs of User Mode Linux.
pub(super) static USER_MODE: Architecture = Architecture {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    packages: &["busybox-static"],
    qemu: None,
    machine: &["con=null", "con0=null,fd:2", "ssl=null", "ssl1=null,fd:1"],
    console: "tty0",
    reports: "ttyS1",
};
