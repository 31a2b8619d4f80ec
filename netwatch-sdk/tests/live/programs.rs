//! This binary under other names: the kernel names a process after the file it runs.

use std::{
    env, fs, io,
    os::unix::{fs::symlink, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

const FOLDER: &str = "NETWATCH_LIVE_PROGRAMS";

/// The folder of names, gone when dropped.
pub(crate) struct Programs {
    _folder: tempfile::TempDir,
}

impl Programs {
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("netwatch-live").tempdir()?;
        symlink(fs::read_link("/proc/self/exe")?, folder.path().join("live"))?;
        // SAFETY: called once, before any thread is started.
        unsafe { env::set_var(FOLDER, folder.path()) };
        Ok(Self { _folder: folder })
    }
}

/// The path of this binary under `name`; the kernel keeps 15 bytes of it.
pub(crate) fn named(name: &str) -> Result<PathBuf> {
    let folder = PathBuf::from(env::var_os(FOLDER).context("no folder of programs")?);
    let path = folder.join(name);
    match symlink("live", &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(path),
    }
}

/// The command for one traffic process.
pub(crate) fn workload(name: &str, shape: &str, role: &str) -> Result<Command> {
    let mut command = Command::new(named(name)?);
    command.args(["workload", shape, role]);
    Ok(command)
}

/// Starts a traffic process that writes to this process's output.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .spawn()
}

/// Runs another program in this process. Returns only when that fails.
pub(crate) fn become_program(command: &mut Command) -> io::Error {
    command.exec()
}
