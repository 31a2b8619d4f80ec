//! The live tests as a machine gets them: the program that the host runs, and its libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{self, progress};
use crate::workspace;

/// A program and the files it needs to start.
pub(super) struct Program {
    /// As it runs on the host.
    pub(super) here: PathBuf,
    /// The same without debug information, which would fill the machine's memory.
    pub(super) stripped: PathBuf,
    /// Shared libraries and the loader, by the paths they have everywhere.
    pub(super) libraries: Vec<PathBuf>,
}

impl Program {
    /// Builds it like the step `live` of the tests.
    pub(super) fn build(folder: &Path) -> Result<Self> {
        progress("building the live tests");
        let built = workspace::cargo_command()?
            .args(["test", "--no-run", "--package", "netwatch-sdk"])
            .args(["--all-features", "--test", "live"])
            .args(["--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit())
            .output()
            .context("could not start cargo")?;
        if !built.status.success() {
            bail!("the live tests do not build");
        }
        let here = executable(&String::from_utf8_lossy(&built.stdout))
            .context("cargo did not say where it put the live tests")?;
        let stripped = folder.join("live");
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        command::output(
            Command::new("strip")
                .arg("--strip-debug")
                .arg("-o")
                .arg(&stripped)
                .arg(&here),
        )?;
        let libraries = libraries(&command::output(Command::new("ldd").arg(&stripped))?);
        Ok(Self {
            here,
            stripped,
            libraries,
        })
    }
}

/// The program that cargo says it made.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    })
}

/// The files that `ldd` names.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let words = listed.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::libraries;

    #[test]
    fn libraries_and_loader_are_found() {
        let listed = "\
\tlinux-vdso.so.1 (0x00007f7041ea1000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f7040c1e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f7041ea3000)
";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(listed), expected.map(Path::new));
    }
}
