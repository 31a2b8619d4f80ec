//! A line of JSON for each shape, for the table of kernels and data paths.

use std::{env, fs::OpenOptions, io::Write};

use anyhow::Result;

use crate::{actor::Unavailable, compare::Differences, shape::Shape};

const FILE: &str = "NETWATCH_LIVE_RESULTS";

/// Appends the outcome of a shape to the file that `NETWATCH_LIVE_RESULTS` names.
pub(crate) fn note(shape: &Shape, outcome: &Result<Differences>) -> Result<()> {
    let Some(path) = env::var_os(FILE) else {
        return Ok(());
    };
    let (word, reason, bytes, figures) = match outcome {
        Ok(off) if off.is_empty() => ("exact", None, 0, 0),
        Ok(off) => (
            "differs",
            None,
            off.process_bytes + off.socket_bytes,
            off.len(),
        ),
        Err(error) => match error.downcast_ref::<Unavailable>() {
            Some(Unavailable(reason)) => ("unavailable", Some(reason.clone()), 0, 0),
            None => ("failed", Some(format!("{error:#}")), 0, 0),
        },
    };
    let mut line = serde_json::to_vec(&serde_json::json!({
        "shape": shape.name(),
        "about": shape.sentence(),
        "outcome": word,
        "reason": reason,
        "bytes_off": bytes,
        "figures_off": figures,
    }))?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(&line)?)
}
