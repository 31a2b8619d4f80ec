//! A reading of many sockets beside `ss -tunapi`.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    holders::Holders,
    progress,
    reading::{Kind, Process},
    rounds::{self, Spread},
    table::{Row, Target},
};

pub(crate) fn read(rounds: u16) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for sockets in [10_000, 50_000] {
        let _holders = Holders::start(sockets)?;
        let mut process = Process::start()?;
        process.read(Kind::Typed)?;
        progress("reading");
        let mut read = || {
            let cost = process.read(Kind::Typed)?;
            ensure!(cost.sockets >= sockets, "sockets are missing");
            Ok(cost.elapsed.as_secs_f64() * 1e3)
        };
        let measured = rounds::turns(rounds, [&mut ss, &mut read])?;
        let column = |part: fn(&[f64; 2]) -> f64| Spread::of(measured.iter().map(part));
        rows.extend([
            Row::new(
                format!("{sockets} sockets, `ss -tunapi`"),
                "ms",
                column(|[ss, _]| *ss)?,
            ),
            Row::new(
                format!("{sockets} sockets, `Reader::read()`"),
                "ms",
                column(|[_, read]| *read)?,
            ),
            Row::new(
                format!("{sockets} sockets, times faster than `ss -tunapi`"),
                "",
                column(|[ss, read]| ss / read)?,
            )
            .target(Target::AtLeast(20.0)),
        ]);
    }
    Ok(rows)
}

/// Milliseconds that it takes; its output is thrown away.
fn ss() -> Result<f64> {
    let began = Instant::now();
    let status = Command::new("ss")
        .arg("-tunapi")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("`ss` cannot be run; `cargo xtask setup` installs it")?;
    ensure!(status.success(), "`ss -tunapi` failed");
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
