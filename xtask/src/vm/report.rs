//! What the tests in a machine report, a line of JSON each; kept by kernel and test program.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::machine::Machine;

/// One line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Test(Test),
    Program(Program),
    /// The tests are over.
    Run {
        run: Run,
    },
}

/// How a test went.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Test {
    pub(super) test: String,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) process_bytes_off: u64,
    pub(super) socket_bytes_off: u64,
    pub(super) figures_off: u64,
    pub(super) seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Everything is as it was told.
    Exact,
    /// Some of it is not.
    Differs,
    /// The kernel cannot do what the test needs; the tests know why.
    Unavailable,
    Failed,
}

/// What the verifier said of a program.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Program {
    pub(super) program: String,
    /// Instructions that the verifier went through; kernels before 5.16 do not tell.
    pub(super) verified: Option<u32>,
    /// Instructions of the program as the kernel runs it.
    pub(super) translated: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Run {
    pub(super) code: i32,
    /// Seconds since the machine was started.
    pub(super) uptime: f64,
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("the tests reported `{text}`"))
    }
}

impl Outcome {
    /// Whether a change may land with it.
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Exact | Self::Unavailable)
    }
}

/// Where the report of such a machine is kept: by everything that decides what it says.
pub(super) fn kept(machine: &Machine<'_>, reports: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    for file in [machine.program, machine.kernel.image.as_path()] {
        fs::read(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .hash(&mut hasher);
    }
    Machine::INIT.hash(&mut hasher);
    machine.kernel.modules.hash(&mut hasher);
    machine.script.hash(&mut hasher);
    machine.kernel_line().hash(&mut hasher);
    let name = format!("{}-{:016x}.jsonl", machine.kernel.release, hasher.finish());
    Ok(reports.join(name))
}

/// A report that was kept.
pub(super) fn read(path: &Path) -> Option<Vec<Line>> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().map(|line| Line::parse(line).ok()).collect()
}
