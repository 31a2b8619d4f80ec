//! Time since boot to time of day.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nix::time::{ClockId, clock_gettime};

/// When the host booted, by the clock that people read.
#[derive(Debug)]
pub(super) struct Clock {
    boot: DateTime<Utc>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { boot: boot() }
    }

    /// Looks at both clocks again. A small difference is left alone, so that a
    /// process's start stays the same in all events.
    pub(super) fn refresh(&mut self) {
        let now = boot();
        if (now - self.boot).abs() > TimeDelta::milliseconds(100) {
            self.boot = now;
        }
    }

    pub(super) fn wall(&self, since_boot: Duration) -> DateTime<Utc> {
        TimeDelta::from_std(since_boot)
            .ok()
            .and_then(|since| self.boot.checked_add_signed(since))
            .unwrap_or(self.boot)
    }
}

fn boot() -> DateTime<Utc> {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .and_then(|since| TimeDelta::from_std(since.into()).ok())
        .unwrap_or_default();
    Utc::now() - since
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_since_boot_is_now() {
        let clock = Clock::new();
        let since: Duration = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap().into();
        let off = Utc::now() - clock.wall(since);
        assert!(off.abs() < TimeDelta::seconds(1), "{off}");
    }

    #[test]
    fn a_time_out_of_range_is_no_panic() {
        let clock = Clock::new();
        assert_eq!(clock.wall(Duration::MAX), clock.boot);
        assert!(clock.wall(Duration::from_nanos(u64::MAX)) > clock.boot);
    }
}
