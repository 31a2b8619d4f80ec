//! JSON on stdout.

use std::io::{self, BufWriter, Write};

use netwatch_sdk::Reader;
use serde::Serialize;

use super::row;

/// A pipe's capacity: as few calls as can be, and no whole line in memory.
const BUFFER: usize = 64 << 10;

/// Writes a value as one line, at once.
pub(crate) fn line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    serde_json::to_writer(&mut stdout, value).map_err(io::Error::from)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

/// Takes a snapshot and writes it as one line, its connections first.
pub(crate) fn snapshot(reader: &mut Reader) -> anyhow::Result<()> {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut before: &[u8] = b"{\"connections\":[";
    let mut text = Vec::new();
    let mut written = Ok(());
    let snapshot = reader.snapshot_by_row(|connection| {
        if written.is_ok() {
            text.clear();
            text.extend_from_slice(before);
            before = b",";
            written = row::write(&mut text, connection)
                .map_err(io::Error::from)
                .and_then(|()| stdout.write_all(&text));
        }
    })?;
    written?;
    if before != b"," {
        stdout.write_all(before)?;
    }
    stdout.write_all(b"],")?;
    // Without the brace that opens it.
    let rest = serde_json::to_vec(&snapshot)?;
    stdout.write_all(rest.get(1..).unwrap_or_default())?;
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
