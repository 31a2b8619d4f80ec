//! What a process is: user, CPU, memory, state, start, executable.
//!
//! Through `sysinfo`: on Linux `/proc/PID/{stat,status,statm,exe}`. What
//! another user's process hides is `None`; its executable needs `CAP_SYS_PTRACE`
//! on Linux. Arguments and environment are never read: they can hold secrets.

mod cpu;
mod user;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sysinfo::{Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

use self::{
    cpu::{CpuTime, percent},
    user::Users,
};
use crate::{Error, ErrorKind, Result, reading::Pid, wire::ProcessBandwidth};

/// How many processes beyond those asked for are kept before all are forgotten.
const SPARE: usize = 256;

/// What one process is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcMeta {
    /// CPU use, percent of one core: since the sampler's previous sample, or
    /// since the process started when that sample did not have it. `NaN` when
    /// the process hides it.
    pub cpu_percent: f64,
    /// Parent process id.
    pub ppid: Option<u32>,
    /// Name of the effective user, its number when it has no name.
    pub user: Option<String>,
    /// Resident memory, bytes; `None` for kernel threads and zombies.
    pub mem_rss_bytes: Option<u64>,
    /// Virtual memory, bytes; `None` for kernel threads and zombies.
    pub mem_virt_bytes: Option<u64>,
    /// Scheduler state, one letter as `ps` shows it.
    pub state: Option<String>,
    /// When it started, to the second.
    pub started_at: Option<DateTime<Utc>>,
    /// Path of the executable, never its arguments.
    pub cmd: Option<String>,
}

/// Samples processes and keeps what their CPU time was before.
#[derive(Debug)]
pub struct ProcMetaSampler {
    system: System,
    users: Users,
    previous: HashMap<u32, CpuTime>,
}

impl ProcMetaSampler {
    /// A sampler that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) on systems that `sysinfo` does not know.
    pub fn new() -> Result<Self> {
        Ok(Self {
            system: new_system()?,
            users: Users::default(),
            previous: HashMap::new(),
        })
    }

    /// These processes; those that have ended are left out. Costs about four
    /// small files for each.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn sample(&mut self, pids: &[Pid]) -> Result<HashMap<u32, ProcMeta>> {
        let known = self.system.processes().len();
        if known > pids.len() * 2 + SPARE {
            self.system = new_system()?;
        }
        let pids: Vec<_> = pids
            .iter()
            .map(|pid| sysinfo::Pid::from_u32(pid.0))
            .collect();
        self.refresh(ProcessesToUpdate::Some(&pids));
        Ok(self.metas(&pids, Instant::now()))
    }

    /// All processes of this host.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when none can be listed.
    pub fn sample_all(&mut self) -> Result<HashMap<u32, ProcMeta>> {
        self.refresh(ProcessesToUpdate::All);
        let processes = self.system.processes().values();
        let pids: Vec<_> = processes
            .filter(|process| process.thread_kind().is_none_or(is_whole_process))
            .map(Process::pid)
            .collect();
        if pids.is_empty() {
            return Err(Error::new(ErrorKind::Io, "list the processes"));
        }
        Ok(self.metas(&pids, Instant::now()))
    }

    fn refresh(&mut self, which: ProcessesToUpdate<'_>) {
        // A process can change its user and, by `exec`, its executable.
        let kind = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_user(UpdateKind::Always)
            .with_exe(UpdateKind::Always);
        self.system.refresh_processes_specifics(which, true, kind);
    }

    fn metas(&mut self, pids: &[sysinfo::Pid], now: Instant) -> HashMap<u32, ProcMeta> {
        let previous = std::mem::take(&mut self.previous);
        let mut metas = HashMap::with_capacity(pids.len());
        for process in pids.iter().filter_map(|pid| self.system.process(*pid)) {
            let pid = process.pid().as_u32();
            let cpu = CpuTime {
                started: process.start_time(),
                used: Duration::from_millis(process.accumulated_cpu_time()),
                taken_at: now,
            };
            let age = Duration::from_secs(process.run_time());
            metas.insert(
                pid,
                meta(
                    process,
                    percent(previous.get(&pid), &cpu, age),
                    &mut self.users,
                ),
            );
            self.previous.insert(pid, cpu);
        }
        metas
    }
}

fn new_system() -> Result<System> {
    System::new().map_err(|cause| {
        Error::new(ErrorKind::Unsupported, "sysinfo does not know this system").because(cause)
    })
}

/// Kernel threads are processes of their own, threads of a program are not.
fn is_whole_process(kind: sysinfo::ThreadKind) -> bool {
    kind == sysinfo::ThreadKind::Kernel
}

fn meta(process: &Process, cpu_percent: f64, users: &mut Users) -> ProcMeta {
    let has_memory = process.virtual_memory() > 0;
    let started = i64::try_from(process.start_time()).ok();
    ProcMeta {
        cpu_percent,
        ppid: process.parent().map(sysinfo::Pid::as_u32),
        user: users.name_of(process),
        mem_rss_bytes: has_memory.then(|| process.memory()),
        mem_virt_bytes: has_memory.then(|| process.virtual_memory()),
        state: letter(process.status()).map(str::to_owned),
        started_at: started
            .filter(|&seconds| seconds > 0)
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        cmd: process
            .exe()
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| path.to_string_lossy().into_owned()),
    }
}

/// The letter of `ps`.
const fn letter(status: ProcessStatus) -> Option<&'static str> {
    Some(match status {
        ProcessStatus::Run => "R",
        ProcessStatus::Sleep => "S",
        ProcessStatus::UninterruptibleDiskSleep => "D",
        ProcessStatus::Idle => "I",
        ProcessStatus::Stop => "T",
        ProcessStatus::Tracing => "t",
        ProcessStatus::Zombie => "Z",
        ProcessStatus::Dead => "X",
        ProcessStatus::Wakekill => "K",
        ProcessStatus::Waking => "W",
        ProcessStatus::Parked => "P",
        _ => return None,
    })
}

static OF_THIS_PROCESS: Mutex<Option<ProcMetaSampler>> = Mutex::new(None);

/// All processes of this host; `None` when they cannot be listed.
///
/// CPU use is since the previous call of this function. To sample some
/// processes only, which is cheaper, use [`ProcMetaSampler`].
#[must_use]
pub fn sample() -> Option<HashMap<u32, ProcMeta>> {
    let mut previous = OF_THIS_PROCESS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let sampler = match &mut *previous {
        Some(sampler) => sampler,
        none => none.insert(ProcMetaSampler::new().ok()?),
    };
    sampler.sample_all().ok()
}

/// Fills what `meta` knows of the rows' processes into the rows.
pub fn apply(processes: &mut [ProcessBandwidth], meta: &HashMap<u32, ProcMeta>) {
    for row in processes {
        let Some(meta) = row.pid.and_then(|pid| meta.get(&pid)) else {
            continue;
        };
        row.ppid = meta.ppid;
        row.user.clone_from(&meta.user);
        row.cpu_pct = meta.cpu_percent.is_finite().then_some(meta.cpu_percent);
        row.mem_rss_bytes = meta.mem_rss_bytes;
        row.mem_virt_bytes = meta.mem_virt_bytes;
        row.state.clone_from(&meta.state);
        row.started_at = meta.started_at;
        row.cmd.clone_from(&meta.cmd);
    }
}

#[cfg(test)]
mod tests;
