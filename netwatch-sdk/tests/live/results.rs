//! A line of JSON for each test and each kernel program, for the table of kernels, hooks and data paths.

use std::{env, fs::OpenOptions, io::Write, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{actor::Unavailable, compare::Differences};

const FILE: &str = "NETWATCH_LIVE_RESULTS";

/// How payload is counted in this run: the hook that `NETWATCH_HOOK` forces, or else the best there is.
pub(crate) fn hook() -> String {
    env::var("NETWATCH_HOOK").unwrap_or_else(|_| "best".to_owned())
}

/// Notes the outcome of a test in the file that `NETWATCH_LIVE_RESULTS` names.
pub(crate) fn note_test(test: &str, outcome: &Result<()>, took: Duration) -> Result<()> {
    let none = Differences::default();
    let (word, reason, off) = match outcome {
        Ok(()) => ("exact", None, &none),
        Err(error) => match (
            error.downcast_ref::<Unavailable>(),
            error.downcast_ref::<Differences>(),
        ) {
            (Some(Unavailable(reason)), _) => ("unavailable", Some(reason.clone()), &none),
            (None, Some(off)) => ("differs", Some(error.to_string()), off),
            (None, None) => ("failed", Some(format!("{error:#}")), &none),
        },
    };
    note(json!({
        "test": test,
        "hook": hook(),
        "outcome": word,
        "reason": reason,
        "process_bytes_off": off.process_bytes,
        "socket_bytes_off": off.socket_bytes,
        "figures_off": off.len(),
        "seconds": took.as_secs_f64(),
    }))
}

/// Appends a line with one call: several tests write at the same time.
pub(crate) fn note(line: Value) -> Result<()> {
    let Some(path) = env::var_os(FILE) else {
        return Ok(());
    };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(&line)?)
}
