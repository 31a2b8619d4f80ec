//! Time since boot to time of day, and to moments of this process.

use std::time::{Duration, Instant};

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

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Into::into)
}

fn boot() -> DateTime<Utc> {
    Utc::now() - TimeDelta::from_std(since_boot()).unwrap_or_default()
}

/// For durations: setting the time of day does not change what it gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instants {
    since_boot: Duration,
    now: Instant,
}

impl Instants {
    pub(super) fn now() -> Self {
        // In this order: what is in between makes moments earlier, never later than now.
        let now = Instant::now();
        Self {
            since_boot: since_boot(),
            now,
        }
    }

    /// Looks at both clocks again. A small difference is left alone, so that moments keep
    /// their distance to the kernel's precision; a suspension is a large one.
    pub(super) fn refresh(&mut self) {
        let new = Self::now();
        let here = new.now.saturating_duration_since(self.now);
        let there = new.since_boot.saturating_sub(self.since_boot);
        if here.abs_diff(there) > Duration::from_millis(100) {
            *self = new;
        }
    }

    pub(super) fn at(self, since_boot: Duration) -> Instant {
        let moment = match since_boot.checked_sub(self.since_boot) {
            Some(later) => self.now.checked_add(later),
            None => self.now.checked_sub(self.since_boot - since_boot),
        };
        moment.unwrap_or(self.now)
    }
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
    fn moments_keep_their_distance_and_none_is_in_the_future() {
        let mut clock = Instants::now();
        clock.refresh();
        let ago = |ms| clock.at(clock.since_boot.saturating_sub(Duration::from_millis(ms)));
        assert_eq!(ago(2) - ago(5), Duration::from_millis(3));
        assert_eq!(clock.at(Duration::MAX), clock.now);
        assert!(clock.at(Duration::ZERO) <= clock.now);
        assert!(clock.at(since_boot()) <= Instant::now());
    }

    #[test]
    fn a_time_out_of_range_is_no_panic() {
        let clock = Clock::new();
        assert_eq!(clock.wall(Duration::MAX), clock.boot);
        assert!(clock.wall(Duration::from_nanos(u64::MAX)) > clock.boot);
    }
}
