//! What a host refuses: the next hook or backend runs, and the status names the cause and
//! the way out. A hook that stays silent is refused, or replaced when it falls silent.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use super::{
    child::SHAPE,
    withheld::{check, collect_by},
};
use crate::{
    actor::unavailable,
    director::{Run, Running},
    observe::Observer,
    shape,
    trial::alone,
};

/// Hosts on which no hook runs, or another than this one.
pub(super) fn once() -> Vec<Trial> {
    vec![
        super::trial(
            "refusal-capabilities",
            "without capabilities sock_diag runs, and the status names the three",
            || {
                let needed = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "setcap"];
                gives_way("auto-nobody", "sock_diag", None, &needed)
            },
        ),
        super::trial(
            "refusal-seccomp",
            "under a container's seccomp filter sock_diag runs, and the status names the filter",
            || gives_way("auto-seccomp", "sock_diag", None, &["seccomp filter"]),
        ),
        super::trial(
            "refusal-user-namespace",
            "as root of a user namespace sock_diag runs, and the status says that it does not count",
            || gives_way("auto-user-namespace", "sock_diag", None, &["user namespace"]),
        ),
        super::trial(
            "refusal-locked-memory",
            "with 64 KiB of locked memory it is exact, or before Linux 5.11 says how to get more",
            || starts_or_says("three-capabilities-little-memory", "ulimit -l unlimited"),
        ),
        super::trial(
            "refusal-perfmon",
            "without CAP_PERFMON the hook cgroup runs, and the status names it",
            || gives_way("auto-two-capabilities", "ebpf", Some("cgroup"), &["CAP_PERFMON"]),
        ),
        super::trial(
            "refusal-btf",
            "without the kernel's BTF the hook cgroup runs, and the status names the option",
            || {
                let way_out = ["CONFIG_DEBUG_INFO_BTF"];
                gives_way("auto-without-btf", "ebpf", Some("cgroup"), &way_out)
            },
        ),
        super::trial(
            "refusal-btf-cgroup",
            "without BTF and cgroup v2 sock_diag runs, and the status says how to mount it",
            || {
                let ways_out = ["CONFIG_DEBUG_INFO_BTF", "mount -t cgroup2"];
                gives_way("auto-without-btf-cgroup", "sock_diag", None, &ways_out)
            },
        ),
    ]
}

/// Settings that silence some hooks and not others.
pub(super) fn by_hook() -> Vec<Trial> {
    let mut trials = Vec::new();
    for switch in &SWITCHES {
        let about = "a hook that it silences is refused with the way out, any other is exact";
        trials.push(alone(switch.off, about, || {
            let _off = switch.turn_off()?;
            starts_or_says(switch.role, switch.way_out)
        }));
        let about = "a hook that falls silent is noticed at a reading, any other stays exact";
        if let Some(name) = switch.turned_off {
            trials.push(alone(name, about, || is_noticed(switch)));
        }
    }
    trials
}

/// What nothing undoes but a boot.
pub(super) fn last() -> Vec<Trial> {
    vec![super::trial(
        "refusal-lockdown",
        "under lockdown=confidentiality the hook cgroup runs, and the status says how to boot",
        || {
            lock_down()?;
            gives_way("auto", "ebpf", Some("cgroup"), &["lockdown=integrity"])
        },
    )]
}

fn lock_down() -> Result<()> {
    let file = Path::new("/sys/kernel/security/lockdown");
    if std::env::var("NETWATCH_PART").as_deref() != Ok("last") {
        return Err(unavailable(
            "only in a virtual machine",
            format!("writes to {}", file.display()),
        ));
    }
    if !file.exists() {
        return Err(unavailable("the kernel has no such switch", file.display()));
    }
    fs::write(file, "confidentiality").with_context(|| format!("write {}", file.display()))
}

/// Starts a collector of the best kind in a degraded process, and checks what it says.
fn gives_way(role: &str, source: &str, hook: Option<&str>, says: &[&str]) -> Result<()> {
    let mut child = Running::start(&SHAPE, role, &[], None)?;
    let started = child.started()?;
    if let Some(refused) = started.refused {
        anyhow::bail!("nothing runs: {}", refused.message);
    }
    let status = started.status;
    ensure!(
        status["source"] == source && status["hook"].as_str() == hook,
        "{status}"
    );
    let refused = status["refused"].to_string();
    for word in says {
        ensure!(refused.contains(word), "no {word} in: {refused}");
    }
    child.paused()?;
    child.go()?;
    child.reported()?;
    child.done()?;
    child.release()
}

/// A setting of the whole host.
#[derive(Debug)]
struct Switch {
    /// Test names; none where nothing changes for what runs already.
    off: &'static str,
    turned_off: Option<&'static str>,
    file: &'static str,
    /// What is written to it.
    value: &'static str,
    /// The collector in question.
    role: &'static str,
    way_out: &'static str,
}

const SWITCHES: [Switch; 4] = [
    Switch {
        off: "switch-kprobes-off",
        turned_off: Some("switch-kprobes-turned-off"),
        file: "/sys/kernel/debug/kprobes/enabled",
        value: "0",
        role: "drive",
        way_out: "echo 1 > /sys/kernel/debug/kprobes/enabled",
    },
    Switch {
        off: "switch-ftrace-off",
        turned_off: Some("switch-ftrace-turned-off"),
        file: "/proc/sys/kernel/ftrace_enabled",
        value: "0",
        role: "drive",
        way_out: "sysctl kernel.ftrace_enabled=1",
    },
    Switch {
        off: "switch-jit-off",
        turned_off: None,
        file: "/proc/sys/net/core/bpf_jit_enable",
        value: "0",
        role: "drive",
        way_out: "sysctl net.core.bpf_jit_enable=1",
    },
    // More than mainline knows: distributions deny `perf_event_open` to all but root.
    Switch {
        off: "switch-perf-paranoid",
        turned_off: None,
        file: "/proc/sys/kernel/perf_event_paranoid",
        value: "4",
        role: "three-capabilities",
        way_out: "sysctl kernel.perf_event_paranoid=2",
    },
];

/// Switched until it is dropped.
struct Off {
    file: &'static Path,
    before: String,
}

impl Switch {
    fn turn_off(&self) -> Result<Off> {
        if std::env::var_os("NETWATCH_VM").is_none() {
            return Err(unavailable(
                "only in a virtual machine",
                format!("writes {} to {}", self.value, self.file),
            ));
        }
        let file = Path::new(self.file);
        if !file.exists() {
            return Err(unavailable("the kernel has no such switch", self.file));
        }
        let before = fs::read_to_string(file)?;
        fs::write(file, self.value).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => unavailable("the kernel has no such switch", self.file),
            _ => anyhow::Error::from(error).context(format!("write {}", self.file)),
        })?;
        Ok(Off { file, before })
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.file, &self.before) {
            eprintln!("{} stays as it is: {error}", self.file.display());
        }
    }
}

/// A collector in such a process is exact, or says how to change what refuses it.
fn starts_or_says(role: &'static str, way_out: &str) -> Result<()> {
    let mut child = Running::start(&SHAPE, role, &[], None)?;
    let started = child.started()?;
    let Some(refused) = started.refused else {
        let (truth, report) = collect_by(child)?;
        return check(&truth, &report, true);
    };
    child.done()?;
    ensure!(
        refused.message.contains(way_out),
        "no way out in: {}",
        refused.message
    );
    child.release()
}

/// Longer than the collector pauses between two tests of its hooks.
const PAUSE: Duration = Duration::from_secs(6);

fn is_noticed(switch: &Switch) -> Result<()> {
    let mut observer = Observer::with(|builder| builder)?;
    let off = switch.turn_off()?;
    thread::sleep(PAUSE);
    let mut run = Run::start(shape::named("tcp-bulk-v4").context("no such shape")?)?;
    let truth = run.done()?;
    let read = observer.read();
    run.release()?;
    drop(off);
    match read {
        Ok(seen) => {
            for process in &truth.processes {
                let row = seen.processes.values().find(|row| row.who.0 == process.pid);
                let payload = row.map(|row| row.payload).unwrap_or_default();
                let (name, moved) = (&process.name, truth.of(process.pid));
                ensure!(
                    (payload.tx_bytes, payload.rx_bytes) == moved,
                    "{name}: {payload:?}, moved {moved:?}, and nothing was noticed"
                );
            }
            Ok(())
        }
        Err(failure) => {
            let said = format!("{failure:#}");
            ensure!(said.contains(switch.way_out), "no way out in: {said}");
            // Once it is on again, so is the hook.
            observer.read().map(drop)
        }
    }
}
