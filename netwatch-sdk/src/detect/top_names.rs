//! The most frequent names of an endless stream, in bounded memory.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi 2005): a name without a counter
//! takes over the counter with the lowest count and, as it may have occurred
//! that often unnoticed, that count as its possible excess. A count less its
//! excess is never more than the truth, and that is what is reported: exact as
//! long as no more than [`NAMES`] names occurred, a lower bound after.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Counters, about 200 bytes each with a usual name: 0.2 MB, and 1.2 MB if all
/// names are as long as they can be. Every name with more than a 1,000th of
/// all occurrences has one.
pub(crate) const NAMES: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct TopNames {
    counters: HashMap<Arc<str>, Counter>,
    /// The names by count, lowest first.
    order: BTreeSet<(u64, Arc<str>)>,
    replaced: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    count: u64,
    excess: u64,
}

impl TopNames {
    pub(crate) fn add(&mut self, name: &str) {
        if let Some((name, counter)) = self.counters.get_key_value(name) {
            let key = (counter.count, Arc::clone(name));
            self.order.remove(&key);
            let (count, name) = key;
            if let Some(counter) = self.counters.get_mut(&name) {
                counter.count = count.saturating_add(1);
                self.order.insert((counter.count, name));
            }
            return;
        }
        let mut excess = 0;
        if self.counters.len() >= NAMES
            && let Some((lowest, name)) = self.order.pop_first()
        {
            self.counters.remove(&name);
            self.replaced += 1;
            excess = lowest;
        }
        let name: Arc<str> = name.into();
        let count = excess.saturating_add(1);
        self.order.insert((count, Arc::clone(&name)));
        self.counters.insert(name, Counter { count, excess });
    }

    /// The `limit` most frequent names with their counts, most frequent first,
    /// in alphabetical order where equal.
    pub(crate) fn top(&self, limit: usize) -> Vec<(String, u32)> {
        let mut names: Vec<(u64, &Arc<str>)> = self
            .counters
            .iter()
            .map(|(name, counter)| (counter.count - counter.excess, name))
            .collect();
        names.sort_unstable_by(|(a, a_name), (b, b_name)| b.cmp(a).then(a_name.cmp(b_name)));
        names
            .into_iter()
            .take(limit)
            .map(|(count, name)| (name.to_string(), u32::try_from(count).unwrap_or(u32::MAX)))
            .collect()
    }

    /// Names whose counter went to another.
    pub(crate) const fn replaced(&self) -> u64 {
        self.replaced
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_exact_while_names_fit() {
        let mut names = TopNames::default();
        for n in 0..1_000u32 {
            for _ in 0..=n % 7 {
                names.add(&format!("{n}.test"));
            }
        }
        assert_eq!(names.replaced(), 0);
        let top = names.top(1_000);
        assert_eq!(top.len(), 1_000);
        assert_eq!(top[0], ("104.test".to_owned(), 7));
        assert!(top.iter().all(|(name, count)| {
            let n: u32 = name.trim_end_matches(".test").parse().unwrap();
            *count == n % 7 + 1
        }));
    }

    #[test]
    fn a_frequent_name_survives_a_flood_of_random_ones() {
        let mut names = TopNames::default();
        for n in 0..100_000u32 {
            names.add(&format!("{n}.test"));
            if n % 100 == 0 {
                names.add("example.com");
            }
        }
        assert_eq!(names.top(1), [("example.com".to_owned(), 1_000)]);
        assert_eq!(names.counters.len(), NAMES);
        assert_eq!(names.order.len(), NAMES);
        assert_eq!(names.replaced(), 100_001 - NAMES as u64);
    }

    proptest! {
        #[test]
        fn a_count_is_never_more_than_the_truth(stream in prop::collection::vec(0u32..3_000, 0..8_000)) {
            let mut names = TopNames::default();
            let mut truth: HashMap<String, u32> = HashMap::new();
            for n in &stream {
                let name = (n % 1_500 * (n / 1_500)).to_string();
                names.add(&name);
                *truth.entry(name).or_default() += 1;
            }
            prop_assert!(names.counters.len() <= NAMES);
            for (name, count) in names.top(NAMES) {
                prop_assert!(count <= truth[&name]);
            }
            for (name, count) in truth {
                prop_assert!((count as usize) <= stream.len() / NAMES || names.counters.contains_key(&*name));
            }
        }
    }
}
