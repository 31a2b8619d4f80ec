//! The table of `docs/accuracy.md`.

use std::{fs, process::Command};

use anyhow::Result;

use super::{
    measure, shapes,
    seen::Watcher,
    verdict::{Tally, Verdict},
    watchers,
};
use crate::{
    actor::Unavailable,
    compare::{Differences, compare},
    observe::Observer,
    shape::Shape,
};

/// Runs every shape and prints what each backend gives for it.
pub(crate) fn print() -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for shape in shapes() {
        eprintln!("{}", shape.name());
        let cells = match row(shape) {
            Ok(cells) => cells,
            Err(error) => match error.downcast_ref::<Unavailable>() {
                Some(Unavailable(reason)) => vec![format!("not run: {reason}")],
                None => return Err(error.context(shape.name())),
            },
        };
        match rows.iter_mut().find(|row| row.stem == shape.stem && row.cells == cells) {
            Some(row) => row.families.push(shape.family.long()),
            None => rows.push(Row {
                stem: shape.stem,
                about: shape.about,
                families: vec![shape.family.long()],
                cells,
            }),
        }
    }
    println!("{}\n", host());
    println!(
        "| shape | over | `ebpf` | `sock_diag`: open | passing | processes | `ss`: open | passing | processes |\n|---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        println!(
            "| {} (`{}`) | {} | {} |",
            row.about,
            row.stem,
            row.families.join(", "),
            row.cells.join(" | ")
        );
    }
    Ok(())
}

/// When and where.
fn host() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let ss = Command::new("ss").arg("-V").output();
    let ss = ss.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "Measured on {}: Linux {} on {}, {}.",
        chrono::Utc::now().date_naive(),
        kernel.split('-').next().unwrap_or_default().trim(),
        std::env::consts::ARCH,
        ss.unwrap_or_default()
    )
}

/// Shapes that differ in their addresses only and gave the same.
struct Row {
    stem: &'static str,
    about: &'static str,
    families: Vec<&'static str>,
    cells: Vec<String>,
}

fn row(shape: &Shape) -> Result<Vec<String>> {
    let mut watchers: Vec<Watcher> = watchers()?;
    let mut observer = Observer::with(|builder| builder)?;
    let mut off = Vec::new();
    let verdicts = measure(shape, &mut watchers, |truth, moment| {
        off.push(compare(truth, &observer.read()?, moment));
        Ok(())
    })?;
    let bytes: u64 = off.iter().map(|off| off.process_bytes + off.socket_bytes).sum();
    let mut cells = vec![match off.iter().all(Differences::is_empty) {
        true => "exact".to_owned(),
        false if observer.ensure_counted(shape).is_err() => "not counted, and the status says so".to_owned(),
        false => format!("{bytes} bytes off"),
    }];
    for Verdict { open, passing, processes, wrong } in verdicts {
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        cells.extend([open, passing, processes].map(cell));
    }
    Ok(cells)
}

fn cell(tally: Tally) -> String {
    let words = [
        (tally.exact, "exact"),
        (tally.lower_bound, "lower bound"),
        (tally.estimate, "estimate"),
        (tally.no_bytes, "no bytes"),
        (tally.not_seen, "not seen"),
    ];
    let named: Vec<&str> = words.iter().filter(|(count, _)| *count > 0).map(|(_, word)| *word).collect();
    match &named[..] {
        [] => "–".to_owned(),
        [one @ ("exact" | "no bytes" | "not seen")] => (*one).to_owned(),
        _ => format!("{}, {}", named.join(" and "), share(tally)),
    }
}

/// How much of the bytes was told.
fn share(Tally { told, moved, .. }: Tally) -> String {
    if told == moved {
        return "all bytes".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let percent = told as f64 * 100.0 / moved.max(1) as f64;
    format!("{percent:.1} % of the bytes")
}
