//! `cargo xtask setup`: installs what building and testing need.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bpf_toolchain::{self, BPF_LINKER, BpfToolchain};
use crate::command::{self, progress};
use crate::debian::{self, Package};
use crate::workspace;

/// The compiler below this cannot build aya-ebpf; bookworm without its security suite has 1.85.
const RUST: Option<&str> = Some("1.96");
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const PACKAGES: [Package; 9] = [
    // The compiler for the kernel programs, with `core` built for BPF, and its clippy.
    Package {
        name: "rustc-web",
        at_least: RUST,
    },
    Package {
        name: "libstd-rust-web-dev-bpf",
        at_least: RUST,
    },
    Package {
        name: "rust-web-clippy",
        at_least: RUST,
    },
    // bpf-linker is built with it. Linking that takes a C++ compiler's library.
    Package {
        name: "llvm-22-dev",
        at_least: None,
    },
    Package {
        name: "g++",
        at_least: None,
    },
    // The live tests: network namespaces, the `ss` backend, gateway probes, translated addresses.
    Package {
        name: "iproute2",
        at_least: None,
    },
    Package {
        name: "iputils-ping",
        at_least: None,
    },
    Package {
        name: "ethtool",
        at_least: None,
    },
    Package {
        name: "nftables",
        at_least: None,
    },
];

/// Install what building and testing need: apt packages, rustfmt, clippy, bpf-linker
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup    as root, or as a user with sudo; takes a moment when all is there

Installs on Debian 12. Elsewhere it installs nothing but rustfmt and clippy (rustup), and says what is missing.")]
pub(crate) struct Setup {}

impl Setup {
    pub(crate) fn run(&self) -> Result<()> {
        if !debian::is_here() {
            return elsewhere();
        }
        let missing = debian::missing(&PACKAGES)?;
        if !missing.is_empty() {
            debian::install(&missing)?;
        }
        rust_components()?;
        bpf_linker()?;
        progress("setup: everything is there");
        Ok(())
    }
}

/// Without apt: all must be there already.
fn elsewhere() -> Result<()> {
    for program in ["ip", "ss", "ping", "nft"] {
        if command::on_path(program).is_empty() {
            bail!(
                "`{program}` is missing: install iproute2, ping and nftables with this system's package manager"
            );
        }
    }
    rust_components()?;
    BpfToolchain::find()?;
    Ok(())
}

/// rustfmt and clippy of the host's compiler.
fn rust_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let mut version = Command::new(workspace::cargo());
        version
            .args([subcommand, "--version"])
            .current_dir(workspace::root()?);
        if command::output(&mut version).is_ok() {
            continue;
        }
        let rustup = command::on_path("rustup").into_iter().next().with_context(|| {
            format!("`cargo {subcommand}` is missing, and there is no rustup to add it: install {component} the way Rust was installed")
        })?;
        command::run(Command::new(rustup).args(["component", "add", component]))?;
    }
    Ok(())
}

fn bpf_linker() -> Result<()> {
    let present = bpf_toolchain::bpf_linker()
        .and_then(|linker| bpf_toolchain::bpf_linker_version(&linker).ok());
    if present.as_deref() == Some(BPF_LINKER) {
        return Ok(());
    }
    progress(format!("building bpf-linker {BPF_LINKER}, about a minute"));
    command::run(
        Command::new(workspace::cargo())
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"])
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", LLVM_PREFIX),
    )
}
