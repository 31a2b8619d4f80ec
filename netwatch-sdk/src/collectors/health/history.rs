//! The recent round-trip times of one target.

use std::collections::VecDeque;

use super::RTT_HISTORY_LEN;

/// The last [`RTT_HISTORY_LEN`] round-trip times, milliseconds, `None` where lost.
#[derive(Debug, Clone, Default)]
pub struct RttHistory(VecDeque<Option<f64>>);

impl RttHistory {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the newest; the oldest goes when the history is full.
    pub fn push(&mut self, rtt_ms: Option<f64>) {
        if self.0.len() == RTT_HISTORY_LEN {
            self.0.pop_front();
        }
        self.0.push_back(rtt_ms);
    }

    /// All of it, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Option<f64>> {
        self.0.iter().copied().collect()
    }

    /// How many it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `true` before the first push.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_the_history_is_full() {
        let mut history = RttHistory::new();
        assert!(history.is_empty());
        for rtt in 0..61_u32 {
            history.push((rtt != 5).then_some(f64::from(rtt)));
        }
        let times = history.snapshot();
        assert_eq!((history.len(), times.len()), (60, 60));
        assert_eq!(
            (times[0], times[4], times[59]),
            (Some(1.0), None, Some(60.0))
        );
    }
}
