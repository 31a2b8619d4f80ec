//! CPU time, which does not count what others do.

use std::time::Duration;

use anyhow::Result;
use nix::{
    sys::resource::{UsageWho, getrusage},
    time::{ClockId, clock_gettime},
};

/// CPU time of this thread.
pub(crate) fn thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// CPU time of all threads of this process, in user space and in the kernel.
pub(crate) fn process() -> Result<Duration> {
    of(UsageWho::RUSAGE_SELF)
}

/// The same, and of the programs that it ran to their end.
pub(crate) fn with_children() -> Result<Duration> {
    Ok(process()? + of(UsageWho::RUSAGE_CHILDREN)?)
}

fn of(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    Ok(Duration::from_micros(
        micros(usage.user_time()) + micros(usage.system_time()),
    ))
}
