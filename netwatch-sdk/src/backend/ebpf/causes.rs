//! Settings of a host that refuse kernel programs or keep them from running, and how to
//! change them. They explain a failure; they never decide what is tried.

use std::{fs, path::Path};

/// A switch of the kernel that silences programs while it is 0.
struct Switch {
    file: &'static str,
    off: &'static str,
    way_out: &'static str,
}

const SWITCHES: [Switch; 3] = [
    Switch {
        file: "sys/kernel/debug/kprobes/enabled",
        off: "kprobes are disarmed",
        way_out: "echo 1 > /sys/kernel/debug/kprobes/enabled",
    },
    Switch {
        file: "proc/sys/kernel/ftrace_enabled",
        off: "ftrace is off",
        way_out: "sysctl kernel.ftrace_enabled=1",
    },
    Switch {
        file: "proc/sys/net/core/bpf_jit_enable",
        off: "the compiler of kernel programs is off",
        way_out: "sysctl net.core.bpf_jit_enable=1",
    },
];

/// Above this, `perf_event_open` is refused to all but root (a patch of distributions).
const MOST_PARANOID: i32 = 2;
/// Ample for the maps. Counted before Linux 5.11.
const LOCKED_MEMORY: u64 = 64 << 20;

/// Why programs that are attached count nothing, as far as this host tells.
pub(super) fn of_silence() -> String {
    let off = switches_off(Path::new("/"));
    if off.is_empty() {
        "no setting of this host explains it".to_owned()
    } else {
        off.join("; ")
    }
}

/// Why the kernel denies what these capabilities permit, as far as this host tells.
pub(super) fn of_denial() -> Vec<String> {
    explain(Path::new("/"))
}

/// Whether this process's capabilities are those of a user namespace.
pub(super) fn is_in_user_namespace() -> bool {
    maps_users(Path::new("/"))
}

/// Whether the kernel was built with kprobes.
pub(super) fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Why the kernel refuses what it does not deny.
pub(super) fn of_refusal() -> Vec<String> {
    let mut causes: Vec<String> = lockdown(Path::new("/")).into_iter().collect();
    causes.extend(switches_off(Path::new("/")));
    causes
}

fn switches_off(root: &Path) -> Vec<String> {
    let is_off = |switch: &&Switch| read(root, switch.file).is_some_and(|text| text == "0");
    SWITCHES
        .iter()
        .filter(is_off)
        .map(|switch| format!("{} ({})", switch.off, switch.way_out))
        .collect()
}

fn explain(root: &Path) -> Vec<String> {
    let mut causes: Vec<String> = lockdown(root).into_iter().collect();
    let paranoid = read(root, "proc/sys/kernel/perf_event_paranoid");
    if let Some(level) = paranoid.and_then(|text| text.parse::<i32>().ok())
        && level > MOST_PARANOID
    {
        causes.push(format!(
            "kernel.perf_event_paranoid is {level} (sysctl kernel.perf_event_paranoid={MOST_PARANOID})"
        ));
    }
    if maps_users(root) {
        causes.push("capabilities of a user namespace do not count (run in the host's)".to_owned());
    }
    let status = read(root, "proc/self/status").unwrap_or_default();
    if status
        .lines()
        .filter_map(|line| line.strip_prefix("Seccomp:"))
        .any(|mode| mode.trim() == "2")
    {
        causes.push(
            "a seccomp filter may forbid bpf(2) and perf_event_open(2) (in a container: a profile \
             that permits them)"
                .to_owned(),
        );
    }
    causes.extend(switches_off(root));
    causes
}

fn maps_users(root: &Path) -> bool {
    let ids = read(root, "proc/self/uid_map");
    ids.is_some_and(|text| !text.split_whitespace().eq(["0", "0", "4294967295"]))
}

fn lockdown(root: &Path) -> Option<String> {
    let text = read(root, "sys/kernel/security/lockdown")?;
    text.contains("[confidentiality]").then(|| {
        "the kernel is locked down against reading its memory (boot with lockdown=integrity)"
            .to_owned()
    })
}

/// A limit that denies maps before Linux 5.11.
pub(super) fn locked_memory() -> Option<String> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes one `rlimit`.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0;
    (!failed && limit.rlim_max < LOCKED_MEMORY).then(|| {
        format!(
            "locked memory is limited to {} KiB, which counts before Linux 5.11 (ulimit -l unlimited)",
            limit.rlim_max >> 10
        )
    })
}

fn read(root: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(file)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_switch_that_is_off_is_named_with_the_way_out() {
        let file = "proc/sys/kernel/ftrace_enabled";
        assert!(switches_off(root(&[]).path()).is_empty());
        assert!(switches_off(root(&[(file, "1\n")]).path()).is_empty());
        assert_eq!(
            switches_off(root(&[(file, "0\n")]).path()),
            ["ftrace is off (sysctl kernel.ftrace_enabled=1)"]
        );
    }

    #[test]
    fn what_forbids_more_than_capabilities_do_is_named() {
        let permits = root(&[
            (
                "sys/kernel/security/lockdown",
                "none [integrity] confidentiality\n",
            ),
            ("proc/sys/kernel/perf_event_paranoid", "2\n"),
            ("proc/self/uid_map", "         0          0 4294967295\n"),
            ("proc/self/status", "Name:\tx\nSeccomp:\t0\n"),
        ]);
        assert!(explain(permits.path()).is_empty());
        let forbids = root(&[
            (
                "sys/kernel/security/lockdown",
                "none integrity [confidentiality]\n",
            ),
            ("proc/sys/kernel/perf_event_paranoid", "4\n"),
            ("proc/self/uid_map", "         0       1000          1\n"),
            ("proc/self/status", "Name:\tx\nSeccomp:\t2\n"),
        ]);
        let causes = explain(forbids.path());
        for (cause, word) in causes
            .iter()
            .zip(["lockdown", "paranoid=2", "user", "seccomp"])
        {
            assert!(cause.contains(word), "{cause}");
        }
        assert_eq!(causes.len(), 4);
    }
}
