//! Whether doubles that are classic programs on a tracepoint run after their programs.
//!
//! All classic programs on a tracepoint run where the first of them was attached, whoever
//! did it: another collector or tracer may have been there before.

use std::{io, os::unix::net::UnixDatagram, thread};

use aya::Ebpf;
use netwatch_common::counters;

use super::maps::counter;
use crate::{Error, Result};

/// Makes a thread's first calls: a double that runs before its program takes them for
/// skipped. It also takes for that what was skipped; then `false` is the safe answer.
pub(super) fn is_kept(ebpf: &Ebpf) -> Result<bool> {
    let recovered = || -> Result<[u64; 2]> {
        Ok([
            counter(ebpf, counters::RECOVERED_SENDS)?,
            counter(ebpf, counters::RECOVERED_RECEIVES)?,
        ])
    };
    let before = recovered()?;
    let called = thread::Builder::new()
        .spawn(call)
        .and_then(|thread| thread.join().map_err(|_| io::Error::other("a panic"))?);
    called.map_err(|error| Error::io("a call on a pair of sockets", error))?;
    Ok(recovered()? == before)
}

fn call() -> io::Result<()> {
    let (one, other) = UnixDatagram::pair()?;
    one.send(&[0])?;
    other.recv(&mut [0])?;
    Ok(())
}
