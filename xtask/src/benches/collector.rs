//! The command, running as users run it.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// `netwatch-collector watch --interval 1s`; stopped when this is dropped.
pub(crate) struct Running {
    child: Child,
    drain: Option<JoinHandle<()>>,
}

impl Running {
    /// Returns after its first snapshot.
    pub(crate) fn start(collector: &Path) -> Result<Self> {
        let mut child = Command::new(collector)
            .args(["watch", "--interval", "1s", "--backend", "ebpf"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let Some(output) = child.stdout.take() else {
            bail!("the collector has no output");
        };
        let mut output = BufReader::new(output);
        let mut running = Self { child, drain: None };
        let mut line = Vec::new();
        if output.read_until(b'\n', &mut line)? == 0 {
            bail!("the collector ended without a snapshot");
        }
        running.drain = Some(thread::spawn(move || {
            let _ = io::copy(&mut output, &mut io::sink());
        }));
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let _ = self.child.wait();
        if let Some(drain) = self.drain.take() {
            let _ = drain.join();
        }
    }
}
