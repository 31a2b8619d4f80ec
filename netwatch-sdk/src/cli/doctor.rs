//! `netwatch-collector doctor`

use std::io::{self, Write as _};

use netwatch_sdk::{Check, Host};

use super::{arguments::Doctor, output};

pub(crate) fn run(options: &Doctor) -> anyhow::Result<()> {
    let host = Host::probe();
    if options.json {
        return output::line(&host);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "This host:")?;
    table(&mut out, &host.checks)?;
    writeln!(out, "\nBackends, best first:")?;
    table(&mut out, &host.backends)?;
    match host.chosen {
        Some(name) => writeln!(out, "\n--backend auto runs {name} here.")?,
        None => writeln!(out, "\nNo backend can run here.")?,
    }
    Ok(())
}

fn table(out: &mut impl io::Write, checks: &[Check]) -> io::Result<()> {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for Check { name, ok, detail } in checks {
        let mark = if *ok { "yes" } else { "NO " };
        writeln!(out, "  {mark}  {name:<width$}  {detail}")?;
    }
    Ok(())
}
