//! The recent rates of one counter.

use std::collections::VecDeque;

use super::RATE_HISTORY_LEN;

/// The last rates, oldest first, in whole bytes a second.
#[derive(Debug, Default)]
pub(super) struct RateHistory(VecDeque<u64>);

impl RateHistory {
    /// `None` before the first rate.
    pub(super) fn snapshot(&self) -> Option<Vec<u64>> {
        (!self.0.is_empty()).then(|| self.0.iter().copied().collect())
    }
}

impl Extend<f64> for RateHistory {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, rates: I) {
        for rate in rates {
            if self.0.len() == RATE_HISTORY_LEN {
                self.0.pop_front();
            }
            self.0.push_back(rate.round() as u64);
        }
    }
}
