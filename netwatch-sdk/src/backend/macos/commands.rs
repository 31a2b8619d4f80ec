//! The commands that are run for one reading.

use crate::{
    Error, ErrorKind, Result,
    parse::{
        lsof::{Lsof, parse_lsof},
        nettop::{Nettop, parse_nettop},
        ps::{Ps, parse_ps_started},
    },
    platform::Runner,
};

/// One sample, numbers not names, numbers in full. Every column: which can be
/// chosen differs by release, and for one that it does not know it prints its usage.
const NETTOP: [&str; 4] = ["-n", "-x", "-L", "1"];
/// Internet sockets, numbers not names, no warnings.
const LSOF: [&str; 5] = ["-n", "-P", "-w", "-i", "-FpcuftdPTn"];
const PS: [&str; 2] = ["-axo", "pid=,lstart="];

/// What the tools said.
#[derive(Debug)]
pub(super) struct Answers {
    /// `None` when it was not asked.
    pub(super) nettop: Option<Result<Nettop>>,
    pub(super) lsof: Result<Lsof>,
    pub(super) ps: Result<Ps>,
}

impl Answers {
    /// `ps` is last: a process that it does not name has then ended.
    pub(super) fn ask(runner: &Runner, nettop: bool) -> Self {
        Self {
            lsof: ask_lsof(runner),
            nettop: nettop.then(|| parse_nettop(&runner.stdout("nettop", &NETTOP)?)),
            ps: runner
                .stdout("ps", &PS)
                .and_then(|output| parse_ps_started(&output)),
        }
    }
}

/// Without any socket, and when it could not read some process, `lsof` exits with 1.
fn ask_lsof(runner: &Runner) -> Result<Lsof> {
    let output = runner.run("lsof", &LSOF)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && output.stdout.is_empty() && !said.trim().is_empty() {
        let first = said.trim().lines().next().unwrap_or_default();
        return Err(Error::new(
            ErrorKind::Io,
            format!("lsof ended with {}: {first}", output.status),
        ));
    }
    parse_lsof(&output.stdout)
}
