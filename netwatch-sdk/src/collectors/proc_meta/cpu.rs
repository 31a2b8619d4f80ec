//! CPU time of one process.

use std::time::{Duration, Instant};

/// The CPU time of one process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTime {
    /// Seconds of the epoch; tells a process from an earlier one with its pid.
    /// 0 when the process hides it.
    pub(super) started: u64,
    pub(super) used: Duration,
    pub(super) taken_at: Instant,
}

/// Percent of one core since `previous`, or over its `age` when that is
/// missing or of another process. `NaN` when the process hides its times.
pub(super) fn percent(previous: Option<&CpuTime>, current: &CpuTime, age: Duration) -> f64 {
    if current.started == 0 {
        return f64::NAN;
    }
    let since = previous
        .filter(|previous| previous.started == current.started)
        .and_then(|previous| {
            let used = current.used.checked_sub(previous.used)?;
            let elapsed = current.taken_at.checked_duration_since(previous.taken_at)?;
            (!elapsed.is_zero()).then_some((used, elapsed))
        });
    // The age is known to the second only.
    let (used, elapsed) = since.unwrap_or((current.used, age.max(Duration::from_secs(1))));
    used.as_secs_f64() / elapsed.as_secs_f64() * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(taken_at: Instant, started: u64, used_ms: u64) -> CpuTime {
        CpuTime {
            started,
            used: Duration::from_millis(used_ms),
            taken_at,
        }
    }

    #[test]
    fn use_is_since_the_previous_sample() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let percent = percent(
            Some(&at(start, 9, 5000)),
            &at(later, 9, 8000),
            Duration::from_secs(60),
        );
        assert!((percent - 150.0).abs() < 1e-9, "{percent}");
    }

    #[test]
    fn a_new_process_or_pid_counts_over_its_life() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let minute = Duration::from_secs(60);
        let current = at(later, 9, 6000);
        assert!((percent(None, &current, minute) - 10.0).abs() < 1e-9);
        let reused = at(start, 8, 5000);
        assert!((percent(Some(&reused), &current, minute) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn hidden_times_are_not_zero_percent() {
        assert!(percent(None, &at(Instant::now(), 0, 0), Duration::ZERO).is_nan());
    }
}
