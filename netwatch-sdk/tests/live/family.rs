//! Children of a traffic process.

use anyhow::{Result, bail, ensure};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};

use crate::{actor::tell, truth::Event};

/// Runs `child` in a new process that ends with it. The caller has one thread.
pub(crate) fn spawn(child: impl FnOnce() -> Result<()>) -> Result<Pid> {
    // SAFETY: traffic processes that fork have one thread, so no lock is held elsewhere.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match child() {
                Ok(()) => 0,
                Err(error) => {
                    let reason = format!("child: {error:#}");
                    i32::from(tell(&Event::Failed { reason }).is_err()) + 1
                }
            };
            // SAFETY: ends this process without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Tells the test that so many processes will report besides this one.
pub(crate) fn expect(more: usize) -> Result<()> {
    tell(&Event::Expect { more })
}

/// Waits for children that must have succeeded.
pub(crate) fn wait_all(children: &[Pid]) -> Result<()> {
    for child in children {
        match waitpid(*child, None)? {
            WaitStatus::Exited(_, code) => ensure!(code == 0, "child {child} exited with {code}"),
            other => bail!("child ended as {other:?}"),
        }
    }
    Ok(())
}

/// Sets the calling thread's name.
pub(crate) fn rename_thread(name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name)?;
    Ok(nix::sys::prctl::set_name(&name)?)
}
