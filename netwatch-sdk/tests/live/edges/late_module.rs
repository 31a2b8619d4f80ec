//! A kernel module that is loaded while the collector runs.
//!
//! It is taken out first, and with it the kprobes that other collectors have on it: so this
//! runs in a machine of its own, `cargo xtask vm-test 6.12 --hook kprobe --test late-module`.

use std::{
    env, fs,
    fs::File,
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::errno::Errno;

use crate::{
    actor::unavailable,
    compare::compare_run,
    director::Run,
    observe::Observer,
    results, shape,
    trial::alone,
};

const NAME: &str = "late-module";

pub(super) fn trials() -> Vec<Trial> {
    let about = "kernel TLS counts from the first reading after its module was loaded";
    vec![alone(NAME, about, run)]
}

fn run() -> Result<()> {
    let elsewhere = || unavailable(NAME, "only in a virtual machine of its own");
    if !env::args().any(|argument| argument == NAME) {
        return Err(elsewhere());
    }
    let module = module().ok_or_else(elsewhere)?;
    // SAFETY: a name, and flags that say not to wait.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_delete_module,
            c"tls".as_ptr(),
            libc::O_NONBLOCK,
        )
    })
    .context("unload the module")?;
    let mut observer = Observer::with(|builder| builder)?;
    let before = observer.limits();
    let file = File::open(&module)?;
    // SAFETY: an open file and no parameters.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0)
    })
    .context("load the module")?;
    observer.read()?;
    let after = observer.limits();
    if results::hook() == "kprobe" {
        let says = |limits: &[String], what: &str| limits.iter().any(|one| one.contains(what));
        ensure!(
            says(&before, "kernel TLS: its kernel module is not loaded"),
            "before: {before:?}"
        );
        ensure!(
            !says(&after, "not loaded") && says(&after, "of kernel TLS is counted since"),
            "after: {after:?}"
        );
    }
    for name in ["tcp-ktls-v4", "tcp-ktls-splice-v4"] {
        let shape = shape::named(name).context("no such shape")?;
        compare_run(shape, Run::start(shape)?, || observer.read())?;
    }
    Ok(())
}

/// Where the virtual machine has the module.
fn module() -> Option<PathBuf> {
    let files = fs::read_dir("/modules").ok()?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.find(|path| path.to_string_lossy().ends_with("-tls"))
}
