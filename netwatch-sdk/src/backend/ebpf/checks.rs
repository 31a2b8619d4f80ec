//! What the kernel programs need of a host, looked at one by one.

use nix::sys::utsname::uname;

use super::{
    capabilities, cgroup,
    load::{self, MapSizes},
    offsets,
    programs::RUNGS,
};
use crate::{collector::Check, error::chain};

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
    for rung in RUNGS {
        checks.push(Check::new(
            format!("hook {}", rung.hook.name()),
            match load::load(MapSizes::default(), &[rung.hook]) {
                Ok(loaded) => Ok(loaded.describe()),
                Err(error) => Err(chain(&error)),
            },
        ));
    }
    checks
}
