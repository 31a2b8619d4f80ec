//! Who waits for the answer to which question.

use std::{
    collections::HashMap,
    hash::{Hash, RandomState},
};

use crate::reading::Pid;

/// A name's hash and a record type.
pub(crate) type Question = (u64, Option<u16>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asker {
    Anybody,
    Process(Pid),
}

/// Open queries by question, over all processes and by process.
///
/// As large as the queries that were added and not removed.
#[derive(Debug, Default)]
pub(crate) struct OpenQuestions {
    counts: HashMap<(Question, Asker), u32, RandomState>,
}

impl OpenQuestions {
    pub(crate) fn add(&mut self, question: Question, asker: Option<Pid>) {
        for asker in keys(asker) {
            *self.counts.entry((question, asker)).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, question: Question, asker: Option<Pid>) {
        for asker in keys(asker) {
            if let Some(count) = self.counts.get_mut(&(question, asker)) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&(question, asker));
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// `true` when another process waits for an answer to the same question.
    pub(crate) fn is_open_elsewhere(&self, question: Question, asker: Option<Pid>) -> bool {
        let count = |asker| self.counts.get(&(question, asker)).copied().unwrap_or(0);
        count(Asker::Anybody) > asker.map_or(0, |pid| count(Asker::Process(pid)))
    }
}

fn keys(asker: Option<Pid>) -> impl Iterator<Item = Asker> {
    [Some(Asker::Anybody), asker.map(Asker::Process)]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_does_not_wait_for_itself() {
        let (mut open, stub, forwarder) = (OpenQuestions::default(), Some(Pid(1)), Some(Pid(2)));
        open.add((9, Some(1)), forwarder);
        assert!(!open.is_open_elsewhere((9, Some(1)), forwarder));
        assert!(open.is_open_elsewhere((9, Some(1)), stub));
        open.add((9, Some(1)), stub);
        assert!(open.is_open_elsewhere((9, Some(1)), forwarder));
        assert!(
            !open.is_open_elsewhere((9, Some(28)), forwarder),
            "another type"
        );
        open.remove((9, Some(1)), stub);
        assert!(!open.is_open_elsewhere((9, Some(1)), forwarder));
        open.remove((9, Some(1)), forwarder);
        assert!(open.is_empty());
    }

    #[test]
    fn one_whose_process_is_not_known_waits_too() {
        let mut open = OpenQuestions::default();
        open.add((9, None), None);
        assert!(open.is_open_elsewhere((9, None), Some(Pid(1))));
        open.remove((9, None), None);
        assert!(open.is_empty());
    }
}
