//! Which of the live tests a machine runs.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command;

/// How many tests at once: many of them wait, for a wire or for the collector.
const THREADS: u32 = 4;

/// What one machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The tests whose answer depends on the hook, with this one.
    Hook(&'static str),
    /// The others, with the best hook that the kernel has.
    Once(&'static str),
    /// Of those, what a subscriber is told and what detectors find.
    Events(&'static str),
    /// What a kernel without any of the hooks can be asked.
    WithoutHook,
}

impl Part {
    /// What does it in a machine.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Hook(_) | Self::Once(_) | Self::Events(_) => include_str!("live"),
            Self::WithoutHook => include_str!("live_without_hook"),
        }
    }

    /// What the script is told; `test` is the name of a test, or a part of it.
    pub(super) fn variables(self, test: Option<&str>) -> Vec<(&'static str, String)> {
        let (hook, tests) = match self {
            Self::Hook(hook) => (hook, "hook"),
            Self::Once(hook) => (hook, "once"),
            Self::Events(hook) => (hook, "events"),
            Self::WithoutHook => ("", ""),
        };
        vec![
            ("HOOK", hook.to_owned()),
            ("PART", tests.to_owned()),
            ("TEST", test.unwrap_or_default().to_owned()),
            ("THREADS", THREADS.to_string()),
        ]
    }

    /// Whether the live tests have any of it.
    pub(super) fn has_tests(self, live: &Path, test: Option<&str>) -> Result<bool> {
        let parts: &[_] = match self {
            Self::Hook(_) => &["hook"],
            Self::Once(_) => &["once", "last"],
            Self::Events(_) => &["events"],
            Self::WithoutHook => &["hook", "once", "events", "last"],
        };
        for part in parts {
            let mut list = Command::new(live);
            list.env("NETWATCH_PART", part).arg("--list").args(test);
            let listed = command::output(&mut list)?;
            if listed.lines().any(|line| line.ends_with(": test")) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hook(hook) => hook,
            Self::Once(_) => "once",
            Self::Events(_) => "events",
            Self::WithoutHook => "no hook",
        })
    }
}
