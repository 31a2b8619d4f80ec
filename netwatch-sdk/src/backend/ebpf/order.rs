//! Whether backups on classic tracepoints run after the programs that they back up.
//!
//! All classic programs on a tracepoint run where the first of them was attached, whoever
//! did it: another collector or tracer may have been there before.

use std::{io, os::unix::net::UnixDatagram, thread};

use aya::Ebpf;
use netwatch_common::counters;

use super::maps::counter;
use crate::{Error, Result};

/// Makes a thread's first calls: a backup that runs before its program takes them for
/// skipped. So it does what the kernel has skipped indeed; then `false` is the safe answer.
pub(super) fn is_kept(ebpf: &Ebpf) -> Result<bool> {
    let before = counter(ebpf, counters::MADE_GOOD)?;
    let called = thread::Builder::new()
        .spawn(call)
        .and_then(|thread| thread.join().map_err(|_| io::Error::other("a panic"))?);
    called.map_err(|error| Error::io("a call on a pair of sockets", error))?;
    Ok(counter(ebpf, counters::MADE_GOOD)? == before)
}

fn call() -> io::Result<()> {
    let (one, other) = UnixDatagram::pair()?;
    one.send(&[0])?;
    other.recv(&mut [0])?;
    Ok(())
}
