//! Live tests: real processes move known bytes, and a collector has to report
//! them to the byte, per process and per socket.
//!
//! | call | does |
//! |---|---|
//! | `live [FILTER]` | runs the tests (root; the arguments are those of the usual harness) |
//! | `live shapes` | prints the traffic shapes as a table in Markdown |
//! | `live accuracy` | measures every shape by every backend and prints a table in Markdown |
//! | `live workload SHAPE ROLE [ADDRESS]` | is one traffic process of a shape |
//!
//! `NETWATCH_PART=hook` leaves only the tests whose answer depends on the hook, `once` and `events` only the others, and
//! `last` only those after which the host is not what it was.
//!
//! Traffic stays on loopback and in network namespaces that the tests make.
//! The binary needs nothing else of the host, so it also runs in a virtual
//! machine that holds only a kernel and this file.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: a panic is a failure of its test"
)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused, reason = "the tests are Linux's")
)]

macro_rules! linux {
    ($($module:ident)*) => { $( #[cfg(target_os = "linux")] mod $module; )* };
}

linux! {
    actor calls compare conservation counted detect director dns edges events family limits namespace netlink observe
    options programs quiet results shape shapes sockmap suite_older suite_path suite_readers suite_shapes suite_table trial
    truth userspace
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["workload", ..] => return actor::run(&arguments[1..]),
        ["shapes"] => {
            print!("{}", shape::table());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let programs = match programs::Programs::new() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("cannot name traffic processes: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments == ["accuracy"] {
        return match userspace::accuracy() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = match std::env::var("NETWATCH_PART").as_deref() {
        Ok("hook") => by_hook(),
        Ok("once") => once(),
        Ok("events") => events_and_findings(),
        Ok("last") => edges::last(),
        Ok(other) => {
            eprintln!("NETWATCH_PART={other}: there are `hook`, `once`, `events` and `last`");
            return ExitCode::FAILURE;
        }
        Err(_) => [by_hook(), once(), events_and_findings(), edges::last()]
            .into_iter()
            .flatten()
            .collect(),
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(programs);
    conclusion.exit_code()
}

/// What depends on the hook that counts.
#[cfg(target_os = "linux")]
fn by_hook() -> Vec<libtest_mimic::Trial> {
    let suites = [
        suite_shapes::trials(),
        suite_older::by_hook(),
        conservation::trials(),
        suite_path::trials(),
        edges::by_hook(),
    ];
    suites.into_iter().flatten().collect()
}

/// What is asked the same by every hook.
#[cfg(target_os = "linux")]
fn once() -> Vec<libtest_mimic::Trial> {
    let suites = [
        suite_table::trials(),
        suite_older::once(),
        suite_readers::trials(),
        userspace::trials(),
        edges::once(),
    ];
    suites.into_iter().flatten().collect()
}

/// Likewise: what a subscriber is told, and what detectors find.
#[cfg(target_os = "linux")]
fn events_and_findings() -> Vec<libtest_mimic::Trial> {
    let suites = [events::trials(), dns::trials(), detect::trials()];
    suites.into_iter().flatten().collect()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the live tests need Linux");
}
