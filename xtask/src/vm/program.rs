//! Programs that need nothing of the machine they run in.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::architecture::Architecture;
use crate::command::progress;
use crate::cross_toolchain::Toolchain;

const ARM64_LINKER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER";

/// The live tests.
pub(super) fn live_tests(architecture: &Architecture) -> Result<PathBuf> {
    without_libraries(
        architecture,
        "the live tests",
        "test --no-run --package netwatch-sdk --test live",
    )
}

/// What `cargo xtask bench` measures with.
pub(super) fn bench(architecture: &Architecture) -> Result<PathBuf> {
    without_libraries(
        architecture,
        "what measures",
        "build --package xtask --bin xtask-bench --features xtask/bench",
    )
}

/// Builds a program without shared libraries.
fn without_libraries(architecture: &Architecture, what: &str, command: &str) -> Result<PathBuf> {
    let target = architecture.target;
    progress(format!("building {what} for {target}"));
    let built = Toolchain::for_target(target)?
        .cargo()?
        .args(command.split(' '))
        .args(["--target", target])
        // Emulation is slow enough.
        .args(["--config", "profile.dev.opt-level=1"])
        .args(["--config", "profile.dev.debug=false"])
        // What the standard library has of it would fill the machine's memory.
        .args(["--config", "profile.dev.strip='debuginfo'"])
        .args(["--message-format", "json-render-diagnostics"])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // At fixed addresses: each process that a test starts would move itself first.
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .env(ARM64_LINKER, "aarch64-linux-gnu-gcc")
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo")?;
    if !built.status.success() {
        bail!("{what}: this does not build");
    }
    executable(&String::from_utf8_lossy(&built.stdout))
        .with_context(|| format!("cargo did not say where it put {what}"))
}

/// The program that cargo says it made.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::executable;

    #[test]
    fn the_program_is_what_cargo_says_it_made() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/a/live-1\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executable(messages).as_deref(),
            Some(Path::new("/a/live-1"))
        );
    }
}
