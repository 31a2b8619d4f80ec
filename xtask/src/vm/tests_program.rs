//! The live tests as one program that needs nothing of the machine it runs in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{self, progress};
use crate::workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds it without shared libraries into `folder`.
pub(super) fn build(folder: &Path) -> Result<PathBuf> {
    progress("building the live tests for virtual machines");
    let built = workspace::cargo_command()?
        .args(["test", "--no-run", "--package", "netwatch-sdk"])
        .args(["--test", "live", "--target", TARGET])
        // Emulation is slow enough.
        .args(["--config", "profile.dev.opt-level=1"])
        .args(["--config", "profile.dev.debug=false"])
        .args(["--message-format", "json-render-diagnostics"])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo")?;
    if !built.status.success() {
        bail!("the live tests do not build");
    }
    let built = executable(&String::from_utf8_lossy(&built.stdout))
        .context("cargo did not say where it put the live tests")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stripped = folder.join("live");
    // What the standard library has of it would fill the machine's memory.
    command::output(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(&stripped)
            .arg(&built),
    )?;
    Ok(stripped)
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
