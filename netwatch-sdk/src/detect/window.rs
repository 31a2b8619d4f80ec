//! What happened within the last seconds, in as little memory as the question needs.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long an alert stays active, and how long its detector stays silent about the same subject.
pub(crate) const ACTIVE_FOR: Duration = Duration::from_secs(60);

/// Answers "were there `limit` distinct values within the window?"
///
/// Keeps the `limit` values seen last, each with its latest time: if those do
/// not all lie within the window, no `limit` values do.
#[derive(Debug, Default)]
pub(crate) struct Distinct<T> {
    /// Seen longest ago first.
    seen: VecDeque<(T, Instant)>,
}

impl<T: PartialEq> Distinct<T> {
    /// Records `value` and returns how many distinct values, at most `limit`,
    /// were seen within `window`, an age of exactly `window` included.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        value: T,
        window: Duration,
        limit: usize,
    ) -> usize {
        if let Some(at) = self.seen.iter().rposition(|(seen, _)| *seen == value) {
            self.seen.remove(at);
        }
        self.seen.push_back((value, now));
        while self.seen.len() > limit.max(1)
            || self
                .seen
                .front()
                .is_some_and(|(_, at)| now.saturating_duration_since(*at) > window)
        {
            self.seen.pop_front();
        }
        self.seen.len()
    }
}

/// Answers "were there `limit` events within the window?"
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The times of the last events, oldest first.
    times: VecDeque<Instant>,
}

impl Recent {
    /// Records an event and returns how many, at most `limit`, happened within
    /// `window`, an age of exactly `window` not included: a steady 50 a minute
    /// is 50 in a window of a minute.
    pub(crate) fn observe(&mut self, now: Instant, window: Duration, limit: usize) -> usize {
        self.times.push_back(now);
        while self.times.len() > limit.max(1)
            || self
                .times
                .front()
                .is_some_and(|at| now.saturating_duration_since(*at) >= window)
        {
            self.times.pop_front();
        }
        self.times.len()
    }
}

/// Keeps a detector from building the same finding for every event of a flood.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    fired: Option<Instant>,
}

impl Latch {
    /// `true` when `over`, unless it said so within the last [`ACTIVE_FOR`].
    pub(crate) fn fires(&mut self, now: Instant, over: bool) -> bool {
        let quiet = self
            .fired
            .is_some_and(|at| now.saturating_duration_since(at) < ACTIVE_FOR);
        let fires = over && !quiet;
        if fires {
            self.fired = Some(now);
        }
        fires
    }

    /// Forgets that it fired: what comes next is a new occurrence.
    pub(crate) fn reset(&mut self) {
        self.fired = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    proptest! {
        #[test]
        fn distinct_values_agree_with_a_list_of_everything(
            steps in prop::collection::vec((0u64..8000, 0u16..40), 1..200),
            limit in 1usize..30,
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bounded = Distinct::default();
            let mut all: HashMap<u16, Instant> = HashMap::new();
            for (wait, value) in steps {
                now += Duration::from_millis(wait);
                all.insert(value, now);
                let truth = all.values().filter(|at| now.duration_since(**at) <= WINDOW).count();
                prop_assert_eq!(bounded.observe(now, value, WINDOW, limit), truth.min(limit));
                prop_assert!(bounded.seen.len() <= limit);
            }
        }

        #[test]
        fn recent_events_agree_with_a_list_of_everything(
            waits in prop::collection::vec(0u64..3000, 1..200),
            limit in 1usize..60,
        ) {
            let mut now = Instant::now();
            let mut bounded = Recent::default();
            let mut all = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                all.push(now);
                let truth = all.iter().filter(|at| now.duration_since(**at) < WINDOW).count();
                prop_assert_eq!(bounded.observe(now, WINDOW, limit), truth.min(limit));
            }
        }
    }

    #[test]
    fn a_latch_speaks_again_after_a_minute() {
        let start = Instant::now();
        let mut latch = Latch::default();
        assert!(!latch.fires(start, false));
        assert!(latch.fires(start, true));
        assert!(!latch.fires(start + Duration::from_millis(59_999), true));
        assert!(latch.fires(start + ACTIVE_FOR, true));
    }

    #[test]
    fn an_event_older_than_the_last_one_is_no_error() {
        let start = Instant::now() + WINDOW;
        let mut recent = Recent::default();
        recent.observe(start, WINDOW, 9);
        assert_eq!(recent.observe(start - Duration::from_secs(1), WINDOW, 9), 2);
    }
}
