//! CPU use between two readings.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, System};

use crate::{Error, ErrorKind, Result};

/// What the processor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuInfo {
    /// Model, as the processor names itself; `None` when it does not.
    pub model: Option<String>,
    /// Logical cores; `None` when they cannot be counted.
    pub cores: Option<u32>,
}

/// CPU use between two readings, percent of the time.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuUse {
    /// Of all cores together, 0 to 100.
    pub total: f64,
    /// Of each core, 0 to 100, in the kernel's order.
    pub per_core: Vec<f64>,
}

/// The previous reading of the CPU counters.
#[derive(Debug)]
pub struct CpuSampler {
    system: System,
    has_previous: bool,
}

impl CpuSampler {
    /// A sampler that has read nothing.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) on systems that `sysinfo` does not know.
    pub fn new() -> Result<Self> {
        Ok(Self {
            system: new_system()?,
            has_previous: false,
        })
    }

    /// CPU use since the previous call; `None` on the first one.
    ///
    /// Calls less than 200 ms apart would measure noise: they return the
    /// figures of the call before. Does not sleep.
    ///
    /// # Errors
    ///
    /// When the counters cannot be read.
    pub fn sample(&mut self) -> Result<Option<CpuUse>> {
        let usage = CpuRefreshKind::nothing().with_usage();
        self.system.refresh_cpu_specifics(usage);
        if self.system.cpus().is_empty() {
            return Err(Error::new(ErrorKind::Io, "read the CPU counters"));
        }
        if !std::mem::replace(&mut self.has_previous, true) {
            return Ok(None);
        }
        let percent = |usage: f32| f64::from(usage).clamp(0.0, 100.0);
        let cores = self.system.cpus().iter();
        Ok(Some(CpuUse {
            total: percent(self.system.global_cpu_usage()),
            per_core: cores.map(|core| percent(core.usage())).collect(),
        }))
    }
}

pub(super) fn new_system() -> Result<System> {
    System::new().map_err(|cause| {
        Error::new(ErrorKind::Unsupported, "sysinfo does not know this system").because(cause)
    })
}

pub(super) fn cpu_info() -> CpuInfo {
    let Ok(mut system) = new_system() else {
        return CpuInfo::default();
    };
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let model = system
        .cpus()
        .first()
        .map(|cpu| cpu.brand().trim().to_owned());
    let cores = u32::try_from(system.cpus().len()).ok();
    CpuInfo {
        model: model.filter(|model| !model.is_empty()),
        cores: cores.filter(|&cores| cores > 0),
    }
}

static OF_THIS_PROCESS: Mutex<Option<CpuSampler>> = Mutex::new(None);

/// CPU use since this process last measured it, by this function or by
/// [`measure_cpu_per_core`]; percent of all cores. `None` when it cannot be read.
///
/// The first call of a process blocks for 200 ms, to have two readings; later
/// ones do not. In async code use [`CpuSampler`].
#[must_use]
pub fn measure_cpu_usage() -> Option<f64> {
    measure().ok().map(|cpu| cpu.total)
}

/// As [`measure_cpu_usage`], of each core.
#[must_use]
pub fn measure_cpu_per_core() -> Option<Vec<f64>> {
    measure().ok().map(|cpu| cpu.per_core)
}

fn measure() -> Result<CpuUse> {
    let mut previous = OF_THIS_PROCESS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let sampler = match &mut *previous {
        Some(sampler) => sampler,
        none => none.insert(CpuSampler::new()?),
    };
    if let Some(cpu) = sampler.sample()? {
        return Ok(cpu);
    }
    thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL + Duration::from_millis(1));
    let second = sampler.sample()?;
    second.ok_or_else(|| Error::new(ErrorKind::Io, "read the CPU counters twice"))
}
