//! Starts the backends that need no kernel program, where the system has them.

use super::Measure;
use crate::Result;

/// Socket diagnostics of this and, where permitted, every other network namespace.
#[cfg(target_os = "linux")]
pub(crate) fn sock_diag() -> Result<Box<dyn Measure>> {
    Ok(Box::new(super::sock_diag::SockDiag::start(true)?))
}

/// The command `ss`.
#[cfg(target_os = "linux")]
pub(crate) fn ss() -> Result<Box<dyn Measure>> {
    use super::ss::{Ran, Ss};
    let runner = crate::platform::Runner::default();
    let run = move |arguments: &[&str]| {
        let output = runner.run("ss", arguments)?;
        Ok(Ran {
            success: output.status.success(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    };
    Ok(Box::new(Ss::start(Box::new(run))?))
}

/// Interface totals shared out by connection count.
#[cfg(target_os = "linux")]
pub(crate) fn estimate() -> Result<Box<dyn Measure>> {
    Ok(Box::new(super::estimate::shares::Shares::start()?))
}

/// Interface totals shared out, for which this system lists no sockets.
#[cfg(not(target_os = "linux"))]
pub(crate) fn estimate() -> Result<Box<dyn Measure>> {
    not_here("the estimate lists sockets on Linux only")
}

/// `nettop` and `lsof`.
#[cfg(target_os = "macos")]
pub(crate) fn nettop() -> Result<Box<dyn Measure>> {
    let mut running = super::macos::Macos::start();
    running.read()?;
    Ok(Box::new(running))
}

/// `nettop`, which this system has not.
#[cfg(not(target_os = "macos"))]
pub(crate) fn nettop() -> Result<Box<dyn Measure>> {
    not_here("nettop exists on macOS only")
}

#[cfg(not(all(target_os = "linux", target_os = "macos")))]
fn not_here(why: &str) -> Result<Box<dyn Measure>> {
    Err(crate::Error::new(crate::ErrorKind::Unsupported, why))
}

/// Socket diagnostics, which this system has not.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sock_diag() -> Result<Box<dyn Measure>> {
    not_here("netlink sock_diag exists on Linux only")
}

/// The command `ss`, which this system has not.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ss() -> Result<Box<dyn Measure>> {
    not_here("ss exists on Linux only")
}
