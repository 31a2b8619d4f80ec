use std::time::{Duration, Instant};

use super::*;

fn meminfo(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    let kib: u64 = line
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn memory_and_swap_are_what_meminfo_says() {
    let memory = read_memory().unwrap();
    assert_eq!(memory.total_bytes, meminfo("MemTotal"));
    assert_eq!(detect_memory_total(), Some(memory.total_bytes));
    // Other programs allocate meanwhile.
    let available = meminfo("MemAvailable");
    assert!(memory.available_bytes.abs_diff(available) < 1 << 30);
    assert_eq!(
        memory.used_bytes + memory.available_bytes,
        memory.total_bytes
    );
    assert_eq!(read_swap().unwrap().total_bytes, meminfo("SwapTotal"));
}

#[test]
fn load_is_what_proc_loadavg_says() {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    let fifteen: f64 = text.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((read_load_avg().unwrap().fifteen - fifteen).abs() < 0.2);
}

#[test]
fn the_first_sample_has_no_cpu_use_and_no_gap() {
    let mut sampler = SystemSampler::new().unwrap();
    let first = sampler.sample();
    assert_eq!(first.value.cpu_usage_pct, None);
    assert_eq!(first.value.cpu_per_core, None);
    assert!(first.value.memory_total_bytes.unwrap() > 0);
    assert!(first.gaps.is_empty());
}

#[test]
fn a_busy_thread_shows_in_the_second_sample() {
    let mut sampler = CpuSampler::new().unwrap();
    assert_eq!(sampler.sample().unwrap(), None);
    spin(Duration::from_millis(400));
    let cpu = sampler.sample().unwrap().unwrap();
    let cores = cpu.per_core.len() as f64;
    assert_eq!(detect_cpu_info().cores, Some(cores as u32));
    // One thread busy the whole time, less what the other tests of this run took from it.
    assert!(cpu.total >= 40.0 / cores && cpu.total <= 100.0, "{cpu:?}");
    let mean = cpu.per_core.iter().sum::<f64>() / cores;
    assert!((mean - cpu.total).abs() < 20.0, "{cpu:?}");
}

#[test]
fn sampling_does_not_sleep() {
    let mut sampler = SystemSampler::new().unwrap();
    sampler.sample();
    let start = Instant::now();
    for _ in 0..10 {
        sampler.sample();
    }
    assert!(
        start.elapsed() < Duration::from_millis(150),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn total_and_cores_asked_one_after_the_other_are_of_the_same_time() {
    let total = measure_cpu_usage().unwrap();
    let cores = measure_cpu_per_core().unwrap();
    assert!((0.0..=100.0).contains(&total));
    assert!(cores.iter().all(|core| (0.0..=100.0).contains(core)));
}
