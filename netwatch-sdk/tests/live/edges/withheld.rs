//! A host that withholds something: the collector says what, or does without it.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::reading::Accuracy;

use super::child::{Report, Row, SHAPE, Started};
use crate::{
    actor::unavailable,
    director::{Run, Running},
    shape,
    truth::Truth,
};

pub(super) fn by_hook() -> Vec<Trial> {
    vec![super::trial(
        "three-capabilities",
        "no root, but CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: exact, or a lower bound and why",
        three_capabilities,
    )]
}

pub(super) fn once() -> Vec<Trial> {
    vec![
        super::trial(
            "unprivileged",
            "without privileges, the error names the capabilities",
            unprivileged,
        ),
        super::trial(
            "cgroup-masked",
            "cgroup v2 hidden under another mount: payload exact, no wire bytes, and why",
            || without_cgroup("masked-cgroup"),
        ),
        super::trial(
            "cgroup-unmounted",
            "no cgroup v2 mounted: payload exact, no wire bytes, and how to mount it",
            || {
                let reason = without_cgroup_reason("unmounted-cgroup")?;
                ensure!(
                    reason.contains("mount -t cgroup2"),
                    "no way out in: {reason}"
                );
                Ok(())
            },
        ),
        super::trial(
            "cgroup-v1-alone",
            "only cgroup v1 mounted: payload exact, no wire bytes, and how to mount v2 beside it",
            || {
                v1_is_here()?;
                let reason = without_cgroup_reason("cgroup-v1")?;
                for word in ["only cgroup v1", "mount -t cgroup2 none /run/cgroup2"] {
                    ensure!(reason.contains(word), "no {word} in: {reason}");
                }
                Ok(())
            },
        ),
        super::trial(
            "cgroup-v1-and-v2",
            "cgroup v2 mounted beside v1, as the status advises: exact, with wire bytes",
            || {
                v1_is_here()?;
                let (_, truth, report) = collect("cgroup-v1-and-v2")?;
                check(&truth, &report, true)
            },
        ),
    ]
}

/// A host with cgroup v1, or one that may be given it.
fn v1_is_here() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if std::env::var_os("NETWATCH_VM").is_none() && !mounts.contains(" - cgroup ") {
        return Err(unavailable(
            "only in a virtual machine",
            "cgroup v1 is not mounted here, and mounting it moves controllers of the whole host",
        ));
    }
    Ok(())
}

fn unprivileged() -> Result<()> {
    let mut child = Running::start(&SHAPE, "nobody", &[], None)?;
    let started = child.started()?;
    child.done()?;
    let refused = started.refused.context("it runs without privileges")?;
    ensure!(refused.kind == "Permission", "{refused:?}");
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
        ensure!(
            refused.message.contains(capability),
            "no {capability} in: {}",
            refused.message
        );
    }
    child.release()
}

fn three_capabilities() -> Result<()> {
    let (_, truth, report) = collect("three-capabilities")?;
    check(&truth, &report, true)
}

fn without_cgroup(role: &str) -> Result<()> {
    without_cgroup_reason(role).map(drop)
}

/// Checks that payload is exact, and returns why packets are not counted.
fn without_cgroup_reason(role: &str) -> Result<String> {
    let (started, truth, report) = collect(role)?;
    check(&truth, &report, false)?;
    let reason = started.status["packets"]["not_counted"].as_str();
    let reason = reason.with_context(|| format!("status: {}", started.status))?;
    ensure!(
        reason.contains("cgroup"),
        "the reason does not name cgroups: {reason}"
    );
    Ok(reason.to_owned())
}

/// What a collector in such a process reports of TCP and UDP traffic.
pub(super) fn collect(role: &str) -> Result<(Started, Truth, Report)> {
    let mut child = Running::start(&SHAPE, role, &[], None)?;
    let started = child.started()?;
    if let Some(refused) = started.refused {
        anyhow::bail!("{}: {}", refused.kind, refused.message);
    }
    let (truth, report) = collect_by(child)?;
    Ok((started, truth, report))
}

/// The same by one that has started.
pub(super) fn collect_by(mut child: Running) -> Result<(Truth, Report)> {
    child.paused()?;
    let mut truth = Truth::default();
    for name in [
        "tcp-request-response-v4",
        "udp-connected-v6",
        "tcp-short-connections-v4",
    ] {
        let mut run = Run::start(shape::named(name).context("no such shape")?)?;
        let of_run = run.done()?;
        truth.add_all(of_run);
        run.release()?;
    }
    child.go()?;
    let report = child.reported()?;
    child.done()?;
    child.release()?;
    Ok((truth, report))
}

/// Every byte, unless programs may be skipped that make up for skipped ones, or the kernel could
/// not probe as many calls as waited: then what is called exact is, and of the rest nothing is
/// counted that was not moved, and the status says why.
pub(super) fn check(truth: &Truth, report: &Report, wire: bool) -> Result<()> {
    for process in &truth.processes {
        let row = report.rows.iter().find(|row| row.pid == process.pid);
        let row = row.with_context(|| format!("no row for {} {}", process.pid, process.name))?;
        ensure!(row.name == process.name, "{row:?}, not {}", process.name);
        report.check(row, truth.of(process.pid))?;
        ensure!(row.wire == wire, "{row:?}: wire bytes");
    }
    Ok(())
}

impl Report {
    /// Compares a row with what its process sent and received.
    pub(super) fn check(&self, row: &Row, moved: (u64, u64)) -> Result<()> {
        let said = || format!("{row:?}, moved {moved:?}: {:?}", self.limits);
        let says = |what| self.limits.iter().any(|limit| limit.contains(what));
        let may_lack = says("comes or goes are not counted")
            || says("calls is missing")
            || says("can be preempted itself") && says("the kernel skipped");
        if row.accuracy == Accuracy::LowerBound && may_lack {
            ensure!(row.tx <= moved.0 && row.rx <= moved.1, "{}", said());
        } else {
            ensure!((row.tx, row.rx) == moved, "{}", said());
        }
        Ok(())
    }
}
