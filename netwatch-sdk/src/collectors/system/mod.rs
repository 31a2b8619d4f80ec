//! CPU use, memory, swap and load of this host, through `sysinfo`.
//!
//! CPU use is a difference between two readings. [`SystemSampler`] and
//! [`CpuSampler`] keep the previous one and never sleep, for use in async
//! code; the functions below keep one for the whole process. No privilege is
//! needed.

mod cpu;

use sysinfo::{MemoryRefreshKind, System};

pub use self::cpu::{CpuInfo, CpuSampler, CpuUse, measure_cpu_per_core, measure_cpu_usage};
use self::cpu::{cpu_info, new_system};
use crate::{Error, ErrorKind, Result, platform::Partial, wire::SystemMetric};

/// Physical memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// All that the kernel manages.
    pub total_bytes: u64,
    /// What programs can have without swapping: free memory and reclaimable caches.
    pub available_bytes: u64,
    /// The rest.
    pub used_bytes: u64,
}

/// Swap space, bytes. All zero when the host has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapInfo {
    /// Size.
    pub total_bytes: u64,
    /// In use.
    pub used_bytes: u64,
}

/// Processes running or waiting, averaged by the kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadAvg {
    /// Over 1 minute.
    pub one: f64,
    /// Over 5 minutes.
    pub five: f64,
    /// Over 15 minutes.
    pub fifteen: f64,
}

/// Reads CPU use, memory, swap and load together, without sleeping.
#[derive(Debug)]
pub struct SystemSampler {
    cpu: CpuSampler,
}

impl SystemSampler {
    /// A sampler whose first CPU figures come with the second sample.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) on systems that `sysinfo` does not know.
    pub fn new() -> Result<Self> {
        Ok(Self {
            cpu: CpuSampler::new()?,
        })
    }

    /// The figures now. A part that could not be read is `None` and in the gaps;
    /// CPU use is `None` in the first sample without a gap.
    pub fn sample(&mut self) -> Partial<SystemMetric> {
        let mut gaps = Vec::new();
        let cpu = keep(self.cpu.sample(), &mut gaps).flatten();
        let memory = keep(memory(), &mut gaps);
        let load = keep(load_avg(), &mut gaps);
        let (memory, swap) = memory.unzip();
        let metric = SystemMetric {
            cpu_usage_pct: cpu.as_ref().map(|cpu| cpu.total),
            memory_total_bytes: memory.map(|memory| memory.total_bytes),
            memory_used_bytes: memory.map(|memory| memory.used_bytes),
            memory_available_bytes: memory.map(|memory| memory.available_bytes),
            load_avg_1m: load.map(|load| load.one),
            load_avg_5m: load.map(|load| load.five),
            load_avg_15m: load.map(|load| load.fifteen),
            swap_total_bytes: swap.map(|swap| swap.total_bytes),
            swap_used_bytes: swap.map(|swap| swap.used_bytes),
            cpu_per_core: cpu.map(|cpu| cpu.per_core),
        };
        Partial {
            value: metric,
            gaps,
        }
    }
}

fn keep<T>(reading: Result<T>, gaps: &mut Vec<Error>) -> Option<T> {
    reading.map_err(|gap| gaps.push(gap)).ok()
}

fn memory() -> Result<(MemoryInfo, SwapInfo)> {
    let mut system = new_system()?;
    system.refresh_memory_specifics(MemoryRefreshKind::everything());
    let (total_bytes, available_bytes) = (system.total_memory(), system.available_memory());
    if total_bytes == 0 {
        return Err(Error::new(ErrorKind::Io, "read the size of memory"));
    }
    let memory = MemoryInfo {
        total_bytes,
        available_bytes,
        used_bytes: total_bytes.saturating_sub(available_bytes),
    };
    let swap = SwapInfo {
        total_bytes: system.total_swap(),
        used_bytes: system.total_swap().saturating_sub(system.free_swap()),
    };
    Ok((memory, swap))
}

fn load_avg() -> Result<LoadAvg> {
    if cfg!(windows) {
        let what = "this system keeps no load average";
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    let load = System::load_average()
        .map_err(|cause| Error::new(ErrorKind::Io, "read the load average").because(cause))?;
    Ok(LoadAvg {
        one: load.one,
        five: load.five,
        fifteen: load.fifteen,
    })
}

/// The processor's model and how many logical cores it has.
#[must_use]
pub fn detect_cpu_info() -> CpuInfo {
    cpu_info()
}

/// Physical memory, bytes; `None` when it cannot be read.
#[must_use]
pub fn detect_memory_total() -> Option<u64> {
    read_memory().map(|memory| memory.total_bytes)
}

/// Memory now; `None` when it cannot be read.
#[must_use]
pub fn read_memory() -> Option<MemoryInfo> {
    memory().ok().map(|(memory, _)| memory)
}

/// Swap now; `None` when it cannot be read.
#[must_use]
pub fn read_swap() -> Option<SwapInfo> {
    memory().ok().map(|(_, swap)| swap)
}

/// Load now; `None` when it cannot be read, and on Windows, which has none.
#[must_use]
pub fn read_load_avg() -> Option<LoadAvg> {
    load_avg().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
