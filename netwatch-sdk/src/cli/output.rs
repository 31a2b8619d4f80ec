//! JSON on stdout.

use std::io::{self, Write as _};

use serde::Serialize;

/// Writes a value as one line, at once.
pub(crate) fn line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()?;
    Ok(())
}

/// `true` when the reader of stdout has gone.
pub(crate) fn is_closed_pipe(failure: &anyhow::Error) -> bool {
    failure
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
