//! A collector that ends, in order or not, leaves nothing in the kernel.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::child::SHAPE;
use crate::director::Running;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        super::trial(
            "killed-collector",
            "a killed collector leaves no program, map or link behind",
            killed,
        ),
        super::trial(
            "dropped-collector",
            "a dropped collector leaves no program, map or link behind",
            dropped,
        ),
    ]
}

fn killed() -> Result<()> {
    let (child, objects) = running("drive")?;
    let pid = Pid::from_raw(i32::try_from(child.pid())?);
    kill(pid, Signal::SIGKILL)?;
    drop(child);
    gone(&objects)
}

fn dropped() -> Result<()> {
    let (mut child, objects) = running("dropped")?;
    child.go()?;
    child.paused()?;
    gone(&objects)?;
    child.go()?;
    child.done()?;
    child.release()
}

/// A running collector, and everything it has in the kernel.
pub(super) fn running(role: &str) -> Result<(Running, Vec<Object>)> {
    let mut child = Running::start(&SHAPE, role, &[], None)?;
    let started = child.started()?;
    if let Some(refused) = started.refused {
        bail!("{}: {}", refused.kind, refused.message);
    }
    child.paused()?;
    let objects = objects(child.pid())?;
    let count = |kind| objects.iter().filter(|object| object.kind == kind).count();
    let counts = [Kind::Program, Kind::Map, Kind::Link].map(count);
    ensure!(
        counts.iter().all(|count| *count > 2),
        "programs, maps and links: {counts:?}"
    );
    for object in &objects {
        ensure!(
            object.exists()?,
            "{object:?} is not there while the collector runs"
        );
    }
    Ok((child, objects))
}

/// The kernel frees them a little after the last reference is gone.
fn gone(objects: &[Object]) -> Result<()> {
    let started = Instant::now();
    for object in objects {
        while object.exists()? {
            ensure!(
                started.elapsed() < Duration::from_secs(20),
                "{object:?} is still there"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Program,
    Map,
    Link,
}

/// Something in the kernel that a descriptor keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) id: u32,
}

/// What the descriptors of a process keep in the kernel.
fn objects(pid: u32) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let path = entry?.path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        for line in text.lines() {
            let kind = match line.split(':').next() {
                Some("prog_id") => Kind::Program,
                Some("map_id") => Kind::Map,
                Some("link_id") => Kind::Link,
                _ => continue,
            };
            let id = line.split(':').nth(1).context("no id")?.trim().parse()?;
            let object = Object { kind, id };
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
    }
    Ok(objects)
}

impl Object {
    /// Asks the kernel for a descriptor by id, and closes it again.
    fn exists(&self) -> Result<bool> {
        // BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID
        let command = match self.kind {
            Kind::Program => 13,
            Kind::Map => 14,
            Kind::Link => 30,
        };
        let attribute = [self.id, 0, 0];
        // SAFETY: the attribute is readable for the size given.
        let fd = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attribute.as_ptr(),
                size_of_val(&attribute),
            )
        });
        match fd {
            Ok(fd) => {
                // SAFETY: the kernel just made this descriptor for us.
                Errno::result(unsafe { libc::close(i32::try_from(fd)?) })?;
                Ok(true)
            }
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("{self:?}")),
        }
    }
}
