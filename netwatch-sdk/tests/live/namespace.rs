//! Network namespaces that live as long as the test holds them.

use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use crate::netlink;

/// A network namespace with loopback up.
pub(crate) struct Namespace {
    file: File,
    /// As `/proc/PID/ns/net` shows it.
    pub(crate) inode: u64,
}

impl Namespace {
    pub(crate) fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare a network namespace")?;
            netlink::up("lo")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let file = made.join().map_err(|_| anyhow!("panicked"))??;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// Runs `inside` on a thread that is in this namespace.
    pub(crate) fn enter<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                inside()
            });
            entered.join().map_err(|_| anyhow!("panicked"))?
        })
    }

    /// Makes a command start in this namespace.
    pub(crate) fn place(&self, command: &mut Command) -> Result<()> {
        let file = self.file.try_clone()?;
        // SAFETY: setns is one system call and touches no memory of this process.
        unsafe {
            command.pre_exec(move || Ok(setns(&file, CloneFlags::CLONE_NEWNET)?));
        }
        Ok(())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
