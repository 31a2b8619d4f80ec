//! A map that never grows past its capacity: the entry touched longest ago goes first.

use std::hash::{Hash, RandomState};

use hashlink::{LinkedHashMap, linked_hash_map::Entry};

/// Keys come from the network, so they are hashed with SipHash and a random seed.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: LinkedHashMap<K, V, RandomState>,
    capacity: usize,
    evicted: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: LinkedHashMap::with_hasher(RandomState::new()),
            capacity: capacity.max(1),
            evicted: 0,
        }
    }

    /// The entry of `key`, made if absent, and now the last to go.
    pub(crate) fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.entries.pop_front();
            self.evicted += 1;
        }
        match self.entries.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.to_back();
                entry.into_mut()
            }
            Entry::Vacant(entry) => entry.insert(make()),
        }
    }

    /// Removes entries, longest untouched first, while `stale` holds.
    pub(crate) fn prune(&mut self, mut stale: impl FnMut(&V) -> bool) {
        while self.entries.front().is_some_and(|(_, value)| stale(value)) {
            self.entries.pop_front();
        }
    }

    /// What is kept, longest untouched first.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// How many entries were dropped to make room.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_entry_touched_longest_ago_makes_room() {
        let mut map = Bounded::new(2);
        map.touch("a", || 1);
        map.touch("b", || 2);
        map.touch("a", || 0);
        map.touch("c", || 3);
        assert_eq!(
            map.entries.iter().collect::<Vec<_>>(),
            [(&"a", &1), (&"c", &3)]
        );
        assert_eq!(map.evicted(), 1);
    }

    #[test]
    fn pruning_stops_at_the_first_entry_that_is_fresh() {
        let mut map = Bounded::new(9);
        for age in [9, 8, 1, 9] {
            map.touch(map.len(), || age);
        }
        map.prune(|age| *age > 5);
        assert_eq!(map.len(), 2);
        assert_eq!(map.evicted(), 0, "what is stale was not evicted");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_being_counted(keys in prop::collection::vec(0u8..40, 0..300), capacity in 1usize..30) {
            let mut map = Bounded::new(capacity);
            let mut made = 0;
            for key in keys {
                map.touch(key, || made += 1);
                prop_assert!(map.len() <= capacity);
            }
            prop_assert_eq!(made, map.len() as u64 + map.evicted());
        }
    }
}
