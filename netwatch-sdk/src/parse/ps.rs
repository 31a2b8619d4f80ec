//! `ps -axo pid=,lstart=`: when each process started.

use chrono::{DateTime, NaiveDate, Utc};

use super::text;
use crate::Result;

/// All that one run printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ps {
    /// In the order printed.
    pub(crate) processes: Vec<Started>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// A process that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Started {
    /// Its pid.
    pub(crate) pid: u32,
    /// When it started, to the second, in the time zone that `ps` ran in.
    pub(crate) at: DateTime<Utc>,
}

/// Reads the output of `ps -axo pid=,lstart=` in the C locale.
///
/// # Errors
///
/// When no line could be read: there is always one for `ps` itself.
pub(crate) fn parse_ps_started(output: &[u8]) -> Result<Ps> {
    let mut read = Ps::default();
    for line in text::lines(output) {
        if line.trim().is_empty() {
            continue;
        }
        match parse_line(&line) {
            Some(started) => read.processes.push(started),
            None => read.unreadable += 1,
        }
    }
    if read.processes.is_empty() {
        return Err(text::not_in_format("ps", "start time", output));
    }
    Ok(read)
}

/// `  590 Fri Aug  1 09:04:05 2025`
fn parse_line(line: &str) -> Option<Started> {
    let mut words = line.split_ascii_whitespace();
    let mut next = || words.next();
    let (pid, _weekday, month, day) = (next()?, next()?, next()?, next()?);
    let (time, year) = (next()?, next()?);
    if next().is_some() {
        return None;
    }
    let mut clock = time.splitn(3, ':').map(str::parse);
    let mut unit = || clock.next()?.ok();
    let at = NaiveDate::from_ymd_opt(year.parse().ok()?, parse_month(month)?, day.parse().ok()?)?
        .and_hms_opt(unit()?, unit()?, unit()?)?
        .and_utc();
    Some(Started {
        pid: pid.parse().ok()?,
        at,
    })
}

fn parse_month(name: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    (1..)
        .zip(MONTHS)
        .find_map(|(number, month)| (month == name).then_some(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MACOS: &[u8] = include_bytes!("../../tests/fixtures/ps/macos_pid_lstart.txt");

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn each_process_has_its_start() {
        let read = parse_ps_started(MACOS).unwrap();
        assert_eq!(read.unreadable, 0);
        assert_eq!(read.processes.len(), 4);
        assert_eq!(
            read.processes[0],
            Started {
                pid: 1,
                at: at("2025-08-01T09:04:05Z")
            }
        );
        assert_eq!(read.processes[3].at, at("2025-12-31T23:59:59Z"));
    }

    #[test]
    fn a_line_in_another_order_or_with_more_in_it_costs_that_line() {
        let read = parse_ps_started(
            b"1 Fri Aug  1 09:04:05 2025\n2 Wed 16 Sep 16:15:29 2026\n3 Fri Aug  1 09:04:05 2025 x\n4 Fri Feb 30 09:04:05 2025\n5 Fri Aug  1 25:04:05 2025\n",
        )
        .unwrap();
        assert_eq!(read.processes.len(), 1);
        assert_eq!(read.unreadable, 4);
    }

    #[test]
    fn output_without_any_process_is_an_error() {
        assert!(parse_ps_started(b"").is_err());
        assert!(parse_ps_started(b"ps: illegal option\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(output: Vec<u8>) {
            let _ = parse_ps_started(&output);
        }

        #[test]
        fn what_is_printed_is_read_back(starts in prop::collection::vec((any::<u32>(), 0..4_102_444_800_i64), 1..20)) {
            let processes: Vec<_> = starts
                .into_iter()
                .map(|(pid, seconds)| Started { pid, at: DateTime::from_timestamp(seconds, 0).unwrap() })
                .collect();
            let printed: String = processes
                .iter()
                .map(|process| format!("{:>5} {}\n", process.pid, process.at.format("%a %b %e %H:%M:%S %Y    ")))
                .collect();
            let read = parse_ps_started(printed.as_bytes()).unwrap();
            prop_assert_eq!(read, Ps { processes, unreadable: 0 });
        }
    }
}
