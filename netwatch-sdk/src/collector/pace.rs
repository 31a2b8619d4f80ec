//! How often the parts of a snapshot are read anew.

use std::time::{Duration, Instant};

/// The shortest time between two readings of a part. In between, a snapshot
/// repeats the last one.
///
/// Sockets, processes' bytes, interfaces, CPU and memory are read for every snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Probes of gateway and DNS server, in the background; 30 s by default.
    pub health: Duration,
    /// Disk space and traffic; 10 s by default.
    pub disks: Duration,
    /// User, CPU, memory and executable of the processes; 5 s by default, and at once
    /// for a process that is new.
    pub processes: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            health: Duration::from_secs(30),
            disks: Duration::from_secs(10),
            processes: Duration::from_secs(5),
        }
    }
}

/// When something was last done.
#[derive(Debug, Default)]
pub(super) struct Last(Option<Instant>);

impl Last {
    /// `true`, and then it counts as done, when it is time to do it again.
    pub(super) fn is_due(&mut self, now: Instant, every: Duration) -> bool {
        let due = self
            .0
            .is_none_or(|last| now.saturating_duration_since(last) >= every);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_due_at_first_and_then_once_a_period() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut last = Last::default();
        assert!(last.is_due(start, second));
        assert!(!last.is_due(start + second / 2, second));
        assert!(last.is_due(start + second, second));
        assert!(!last.is_due(start + second, second));
    }
}
