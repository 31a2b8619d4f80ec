//! What the kernel programs need of a host, looked at one by one.

use nix::sys::utsname::uname;

use super::{
    MapSizes, capabilities, cgroup, offsets,
    programs::{FLOWS, RUNGS},
};
use crate::{
    collector::{Check, Hook, Status},
    error::chain,
};

/// Kernel, BTF, capabilities, cgroup v2, and each rung of the ladder.
pub(crate) fn checks() -> Vec<Check> {
    let kernel = uname()
        .map(|name| {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            format!("{} {}", text(name.release()), text(name.machine()))
        })
        .map_err(|error| error.to_string());
    let lacking = capabilities::lacking();
    let mut checks = vec![
        Check::new("kernel", kernel),
        Check::new(
            "BTF",
            offsets::read()
                .map(|_| offsets::PATH.to_owned())
                .map_err(|error| chain(&error)),
        ),
        Check::new(
            "capabilities",
            if lacking.is_empty() {
                Ok("all that are needed".to_owned())
            } else {
                Err(format!(
                    "lacks {}: run as root, or grant them",
                    lacking.join(", ")
                ))
            },
        ),
        Check::new(
            "cgroup v2",
            cgroup::root()
                .map(|path| path.display().to_string())
                .map_err(|error| chain(&error)),
        ),
    ];
    for (name, hook) in Hook::ALL {
        let found = match super::start(MapSizes::default(), &[*hook]) {
            Ok(running) => Ok(describe(*hook, &running.status())),
            Err(error) => Err(chain(&error)),
        };
        checks.push(Check::new(format!("hook {name}"), found));
    }
    checks
}

/// The programs of a hook, and what it cannot do here.
fn describe(hook: Hook, status: &Status) -> String {
    let rung = RUNGS.iter().find(|rung| rung.hook == hook);
    let programs = rung.map_or(FLOWS, |rung| rung.programs);
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    let parts = std::iter::once(names.join(", ")).chain(status.limits.iter().cloned());
    parts.collect::<Vec<_>>().join("; ")
}
