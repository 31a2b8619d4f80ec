//! A collector in a process of its own, with less than a host usually gives.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use netwatch_sdk::{
    Builder, Collector,
    reading::{Accuracy, Attribution},
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use serde::{Deserialize, Serialize};

use super::denials::{
    BPF, NET_ADMIN, PERFMON, capabilities, little_locked_memory, nobody, seccomp, user_namespace,
};
use crate::{
    actor::{Actor, report, tell},
    observe::exact,
    shape::Shape,
    truth::Event,
};

/// What starting a collector came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Started {
    /// `None` when it runs.
    pub(crate) refused: Option<Refused>,
    pub(crate) status: serde_json::Value,
}

/// Why it does not run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// What a running collector reported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Why figures are less than exact.
    pub(crate) limits: Vec<String>,
    pub(crate) missed_runs: u64,
    pub(crate) untracked_calls: u64,
}

/// One process's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) tx: u64,
    pub(crate) rx: u64,
    pub(crate) accuracy: Accuracy,
    /// Whether wire bytes were measured.
    pub(crate) wire: bool,
}

/// No traffic shape, so it is in no table; [`Running`](crate::director::Running) starts its parts.
pub(crate) const SHAPE: Shape = Shape {
    stem: "collector",
    about: "a collector in a process of its own",
    drive: collect,
    more: &[
        ("dropped", dropped),
        ("nobody", |actor| nobody().and_then(|()| collect(actor))),
        ("three-capabilities", |actor| {
            capabilities(BPF | PERFMON | NET_ADMIN).and_then(|()| collect(actor))
        }),
        ("masked-cgroup", |actor| {
            mask_cgroup().and_then(|()| collect(actor))
        }),
        ("auto", auto),
        ("auto-nobody", |actor| nobody().and_then(|()| auto(actor))),
        ("auto-two-capabilities", |actor| {
            capabilities(BPF | NET_ADMIN).and_then(|()| auto(actor))
        }),
        ("auto-without-btf", |actor| {
            own_mounts().and_then(|()| hide_btf()).and_then(|()| auto(actor))
        }),
        ("auto-without-btf-cgroup", |actor| {
            unmount_cgroup().and_then(|()| hide_btf()).and_then(|()| auto(actor))
        }),
        ("auto-seccomp", |actor| seccomp().and_then(|()| auto(actor))),
        ("auto-user-namespace", |actor| {
            user_namespace().and_then(|()| auto(actor))
        }),
        ("three-capabilities-little-memory", |actor| {
            little_locked_memory()
                .and_then(|()| capabilities(BPF | PERFMON | NET_ADMIN))
                .and_then(|()| collect(actor))
        }),
        ("unmounted-cgroup", |actor| {
            unmount_cgroup().and_then(|()| collect(actor))
        }),
        ("cgroup-v1", |actor| {
            cgroup_v1().and_then(|()| collect(actor))
        }),
        ("cgroup-v1-and-v2", |actor| {
            cgroup_v1()
                .and_then(|()| mount_cgroup2())
                .and_then(|()| collect(actor))
        }),
    ],
    ..Shape::BASE
};

/// Starts a collector, waits for the word, takes a reading and tells its rows.
fn collect(actor: &Actor) -> Result<()> {
    watch(actor, exact()?)
}

/// The same with the best that the host allows.
fn auto(actor: &Actor) -> Result<()> {
    watch(actor, Collector::builder())
}

fn watch(actor: &Actor, builder: Builder) -> Result<()> {
    let Some(collector) = start(builder)? else {
        return report(&[], false);
    };
    actor.pause("running")?;
    let reading = collector.reader().read()?;
    let rows = reading
        .processes
        .iter()
        .filter_map(|process| match process.id {
            Attribution::Process(id) => Some(Row {
                pid: id.pid.0,
                name: process.name.clone(),
                tx: process.payload.tx_bytes,
                rx: process.payload.rx_bytes,
                accuracy: process.accuracy,
                wire: process.wire.is_some(),
            }),
            _ => None,
        });
    tell(&Event::Reported(Report {
        rows: rows.collect(),
        limits: collector.status().limits,
        missed_runs: reading.lost.missed_runs,
        untracked_calls: reading.lost.untracked_calls,
    }))?;
    actor.finish(&[])
}

/// Starts a collector and drops it, and lives on.
fn dropped(actor: &Actor) -> Result<()> {
    let collector = start(exact()?)?.context("did not start")?;
    actor.pause("running")?;
    drop(collector);
    actor.pause("dropped")?;
    actor.finish(&[])
}

fn start(builder: Builder) -> Result<Option<Collector>> {
    let (started, collector) = match builder.start() {
        Ok(collector) => {
            let status = serde_json::to_value(collector.status())?;
            let started = Started {
                refused: None,
                status,
            };
            (started, Some(collector))
        }
        Err(error) => {
            let refused = Refused {
                kind: format!("{:?}", error.kind()),
                message: format!("{:#}", anyhow::Error::from(error)),
            };
            let started = Started {
                refused: Some(refused),
                status: serde_json::Value::Null,
            };
            (started, None)
        }
    };
    tell(&Event::Started(started))?;
    Ok(collector)
}

const CGROUP: &str = "/sys/fs/cgroup";

/// A mount namespace of this process's own: nothing it does is seen outside.
fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
}

/// A kernel that does not show its type information, if it has any.
fn hide_btf() -> Result<()> {
    if !Path::new("/sys/kernel/btf").exists() {
        return Ok(());
    }
    let flags = MsFlags::empty();
    mount(Some("tmpfs"), "/sys/kernel/btf", Some("tmpfs"), flags, None::<&str>)
        .context("hide /sys/kernel/btf")
}

/// An empty folder where cgroup v2 was: still in the list of mounts, and not there.
fn mask_cgroup() -> Result<()> {
    own_mounts()?;
    mount(
        Some("tmpfs"),
        CGROUP,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )?;
    Ok(fs::create_dir_all(Path::new(CGROUP).join("unified"))?)
}

/// No cgroup v2 in the list of mounts.
fn unmount_cgroup() -> Result<()> {
    own_mounts()?;
    for _ in 0..100 {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let cgroup2 = mounts
            .lines()
            .rev()
            .find(|line| line.contains(" - cgroup2 "));
        let Some(line) = cgroup2 else { return Ok(()) };
        let path = line.split(' ').nth(4).context("short mountinfo")?;
        umount2(path, MntFlags::MNT_DETACH).with_context(|| format!("unmount {path}"))?;
    }
    ensure!(false, "cgroup v2 is mounted again and again");
    Ok(())
}

/// The older hierarchies, each controller that the kernel has in its own, and no cgroup v2.
/// Outside of a virtual machine only where they are mounted already: it moves controllers of the whole host.
fn cgroup_v1() -> Result<()> {
    unmount_cgroup()?;
    if std::env::var_os("NETWATCH_VM").is_none() {
        return Ok(());
    }
    let none = MsFlags::empty();
    mount(Some("tmpfs"), CGROUP, Some("tmpfs"), none, None::<&str>).context(CGROUP)?;
    let mut mounted = 0;
    for controller in ["cpu", "memory", "pids", "net_cls", "none,name=systemd"] {
        let folder = Path::new(CGROUP).join(controller);
        fs::create_dir(&folder)?;
        // Newer kernels lack some of them.
        if mount(Some("cgroup"), &folder, Some("cgroup"), none, Some(controller)).is_ok() {
            mounted += 1;
        }
    }
    ensure!(mounted > 1, "the kernel has no cgroup v1 with a controller");
    Ok(())
}

/// What the status advises to do beside cgroup v1.
fn mount_cgroup2() -> Result<()> {
    const BESIDE: &str = "/run/cgroup2";
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).context("/run")?;
    fs::create_dir(BESIDE)?;
    mount(Some("none"), BESIDE, Some("cgroup2"), MsFlags::empty(), None::<&str>).context(BESIDE)
}
