//! The parts of a snapshot that are about the host, each at its own pace.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    health::HealthMonitor,
    pace::{Last, Pace},
};
use crate::{
    Error, Result,
    collectors::{
        disk::{read_disk_io, read_disk_usage},
        proc_meta::{self, ProcMeta, ProcMetaSampler},
        system::SystemSampler,
        traffic::{self, InterfaceRateTracker},
    },
    error::chain,
    platform::Partial,
    reading::Pid,
    wire::{DiskIo, DiskUsage, HealthMetric, ProcessBandwidth, Snapshot},
};

/// What is read of the host, and what was last read.
#[derive(Debug, Default)]
pub(super) struct HostParts {
    interfaces: InterfaceRateTracker,
    system: Option<SystemSampler>,
    disks_read: Last,
    disk_usage: Option<Vec<DiskUsage>>,
    disk_io: Option<DiskIo>,
    meta_sampler: Option<ProcMetaSampler>,
    meta_read: Last,
    meta: HashMap<u32, ProcMeta>,
    health_probed: Last,
    health: HealthMonitor,
    /// By part: why it, or some of it, is missing from the last snapshot.
    gaps: Vec<(&'static str, String)>,
}

impl HostParts {
    /// Fills everything that is not about sockets into a snapshot.
    pub(super) fn fill(&mut self, snapshot: &mut Snapshot, pace: &Pace) {
        let now = Instant::now();
        self.fill_interfaces(snapshot);
        self.fill_system(snapshot);
        if self.disks_read.is_due(now, pace.disks) {
            self.gaps.retain(|(part, _)| *part != "disks");
            self.disk_usage = self.keep("disks", read_disk_usage());
            self.disk_io = self.keep("disks", read_disk_io());
        }
        snapshot.disk_usage.clone_from(&self.disk_usage);
        snapshot.disk_io = self.disk_io;
        if let Some(rows) = &mut snapshot.processes {
            self.fill_processes(rows, now, pace.processes);
        }
        if self.health_probed.is_due(now, pace.health) {
            self.gaps.retain(|(part, _)| *part != "health");
            if let Err(error) = self.health.probe() {
                self.gaps.push(("health", error.to_string()));
            }
        }
        snapshot.health = self.health.metric();
    }

    /// The sockets in TIME-WAIT, or a gap.
    pub(super) fn keep_time_wait(&mut self, count: Result<u32>) -> Option<u32> {
        self.gaps.retain(|(part, _)| *part != "TIME-WAIT");
        count
            .map_err(|error| self.gaps.push(("TIME-WAIT", chain(&error))))
            .ok()
    }

    /// Waits for probes that are under way, at most so long.
    pub(super) fn wait_for_health(&self, at_most: Duration) -> Option<HealthMetric> {
        self.health.wait(at_most);
        self.health.metric()
    }

    /// What is missing from the last snapshot, and why.
    pub(super) fn gaps(&self) -> Vec<String> {
        let own = self.gaps.iter().map(|(part, why)| format!("{part}: {why}"));
        let health = self.health.gaps();
        own.chain(health.iter().map(|why| format!("health: {why}")))
            .collect()
    }

    fn fill_interfaces(&mut self, snapshot: &mut Snapshot) {
        self.gaps.retain(|(part, _)| *part != "interfaces");
        match traffic::sample(&mut self.interfaces) {
            Ok(interfaces) => snapshot.interfaces = interfaces,
            Err(error) => self.gaps.push(("interfaces", chain(&error))),
        }
    }

    fn fill_system(&mut self, snapshot: &mut Snapshot) {
        self.gaps.retain(|(part, _)| *part != "system");
        if self.system.is_none() {
            match SystemSampler::new() {
                Ok(sampler) => self.system = Some(sampler),
                Err(error) => self.gaps.push(("system", chain(&error))),
            }
        }
        if let Some(sampler) = &mut self.system {
            let sample = sampler.sample();
            snapshot.system = Some(sample.value);
            self.note("system", &sample.gaps);
        }
    }

    fn fill_processes(&mut self, rows: &mut [ProcessBandwidth], now: Instant, every: Duration) {
        let is_new = |pid: u32| !self.meta.contains_key(&pid);
        let some_new = rows.iter().filter_map(|row| row.pid).any(is_new);
        if self.meta_read.is_due(now, every) || some_new {
            self.gaps.retain(|(part, _)| *part != "processes");
            let pids: Vec<Pid> = rows.iter().filter_map(|row| row.pid).map(Pid).collect();
            match self.sample_processes(&pids) {
                Ok(meta) => self.meta = meta,
                Err(error) => self.gaps.push(("processes", chain(&error))),
            }
        }
        proc_meta::apply(rows, &self.meta);
    }

    fn sample_processes(&mut self, pids: &[Pid]) -> Result<HashMap<u32, ProcMeta>> {
        match &mut self.meta_sampler {
            Some(sampler) => sampler.sample(pids),
            none => none.insert(ProcMetaSampler::new()?).sample(pids),
        }
    }

    fn keep<T>(&mut self, part: &'static str, read: Result<Partial<T>>) -> Option<T> {
        match read {
            Ok(partial) => {
                self.note(part, &partial.gaps);
                Some(partial.value)
            }
            Err(error) => {
                self.gaps.push((part, chain(&error)));
                None
            }
        }
    }

    fn note(&mut self, part: &'static str, gaps: &[Error]) {
        self.gaps.extend(gaps.iter().map(|gap| (part, chain(gap))));
    }
}
