//! Empty programs on every hook of the collector: no programs on them cost less.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context, Result};
use netwatch_sdk::{Backend, Collector};

use crate::bpf::{self, Program};

/// One empty program for each of the collector's, not attached.
pub(crate) struct Floor {
    programs: Vec<Program>,
    cgroup: File,
}

impl Floor {
    pub(crate) fn new() -> Result<Self> {
        let collector = Collector::builder().backend(Backend::Ebpf).start()?;
        let mut programs = Vec::new();
        for own in bpf::own_programs()? {
            programs.extend(own.empty()?);
        }
        drop(collector);
        Ok(Self {
            programs,
            cgroup: cgroup_root()?,
        })
    }

    /// Hooks all of them in until the result is dropped.
    pub(crate) fn attach(&self) -> Result<Vec<OwnedFd>> {
        let attach = |program: &Program| program.attach(self.cgroup.as_fd());
        self.programs.iter().map(attach).collect()
    }
}

pub(crate) fn cgroup_root() -> Result<File> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let path = mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then_some(path)
        })
        .context("no cgroup v2 is mounted")?;
    File::open(path).with_context(|| path.to_owned())
}
