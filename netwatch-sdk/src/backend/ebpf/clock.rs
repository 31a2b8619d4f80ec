//! The kernel programs' clock.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, as moments of this process's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    since_boot: Duration,
    now: Instant,
}

impl Clock {
    pub(super) fn now() -> Self {
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Into::into);
        Self {
            since_boot,
            now: Instant::now(),
        }
    }

    /// Never later than now; the time of a suspension counts as no time.
    pub(super) fn at(self, boot_ns: u64) -> Instant {
        let age = self
            .since_boot
            .saturating_sub(Duration::from_nanos(boot_ns));
        self.now.checked_sub(age).unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_distance_and_none_is_in_the_future() {
        let clock = Clock::now();
        let boot = clock.since_boot.as_nanos() as u64;
        let (first, second) = (clock.at(boot - 5_000_000), clock.at(boot - 2_000_000));
        assert_eq!(second - first, Duration::from_millis(3));
        assert_eq!(clock.at(boot + 1_000_000_000), clock.now);
        assert!(clock.at(0) <= clock.now);
    }
}
