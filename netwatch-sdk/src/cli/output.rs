//! JSON on stdout.

use std::io::{self, BufWriter, Write as _};

use serde::Serialize;

/// Writes a value as one line, at once.
pub(crate) fn line(value: &impl Serialize) -> anyhow::Result<()> {
    // A pipe's capacity: as few calls as can be, and no whole line in memory.
    let mut stdout = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    serde_json::to_writer(&mut stdout, value).map_err(io::Error::from)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

/// `true` when the reader of stdout has gone.
pub(crate) fn is_closed_pipe(failure: &anyhow::Error) -> bool {
    failure
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
