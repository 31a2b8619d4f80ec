//! The machine that is measured on, and what else it is doing.

use std::{fmt, fs, thread};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{bpf, progress};

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
    /// Over one minute, before anything is measured.
    load: f64,
    /// Programs of others that are loaded; they may sit on the same hooks.
    other_programs: usize,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let load = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
        let processors = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let processor = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, name)| name);
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .split('-')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            processor: processor.to_owned(),
            cores: thread::available_parallelism()?.get(),
            load: load
                .split(' ')
                .next()
                .context("/proc/loadavg is empty")?
                .parse()?,
            other_programs: bpf::program_ids()?.len(),
        })
    }

    fn is_busy(&self) -> bool {
        self.load > 0.5 * self.cores as f64
    }

    pub(crate) fn warn(&self) {
        if self.is_busy() {
            progress(&format!(
                "WARNING: others load this machine ({} on {} cores); only ratios mean something",
                self.load, self.cores
            ));
        }
        if self.other_programs != 0 {
            progress(&format!(
                "WARNING: {} BPF programs of others are loaded",
                self.other_programs
            ));
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Linux {}, {} cores of {}, load average {} at the start{}, {} BPF programs of others",
            self.kernel,
            self.cores,
            self.processor,
            self.load,
            if self.is_busy() {
                " (**others load this machine**)"
            } else {
                ""
            },
            self.other_programs,
        )
    }
}
