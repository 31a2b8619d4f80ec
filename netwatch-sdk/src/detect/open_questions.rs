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

/// Which of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Where {
    /// Those on a loopback address.
    Loopback,
    /// All of them.
    Anywhere,
}

/// Open queries by question, over all processes and by process.
///
/// As large as the queries that were added and not removed.
#[derive(Debug, Default)]
pub(crate) struct OpenQuestions {
    counts: HashMap<(Question, Asker, Where), u32, RandomState>,
}

impl OpenQuestions {
    /// `server` is where it was asked.
    pub(crate) fn add(&mut self, question: Question, asker: Option<Pid>, server: Where) {
        for (asker, server) in keys(asker, server) {
            *self.counts.entry((question, asker, server)).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, question: Question, asker: Option<Pid>, server: Where) {
        for (asker, server) in keys(asker, server) {
            let key = (question, asker, server);
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// `true` when another process waits for an answer to the same question from there.
    pub(crate) fn is_open_elsewhere(
        &self,
        question: Question,
        asker: Option<Pid>,
        server: Where,
    ) -> bool {
        let count = |asker| {
            let count = self.counts.get(&(question, asker, server));
            count.copied().unwrap_or(0)
        };
        count(Asker::Anybody) > asker.map_or(0, |pid| count(Asker::Process(pid)))
    }
}

fn keys(asker: Option<Pid>, server: Where) -> impl Iterator<Item = (Asker, Where)> {
    let askers = [Some(Asker::Anybody), asker.map(Asker::Process)];
    let servers = [
        Some(Where::Anywhere),
        (server == Where::Loopback).then_some(Where::Loopback),
    ];
    askers.into_iter().flatten().flat_map(move |asker| {
        let servers = servers.into_iter().flatten();
        servers.map(move |server| (asker, server))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_does_not_wait_for_itself() {
        let (mut open, stub, forwarder) = (OpenQuestions::default(), Some(Pid(1)), Some(Pid(2)));
        open.add((9, Some(1)), forwarder, Where::Anywhere);
        assert!(!open.is_open_elsewhere((9, Some(1)), forwarder, Where::Anywhere));
        assert!(open.is_open_elsewhere((9, Some(1)), stub, Where::Anywhere));
        open.add((9, Some(1)), stub, Where::Anywhere);
        assert!(open.is_open_elsewhere((9, Some(1)), forwarder, Where::Anywhere));
        assert!(
            !open.is_open_elsewhere((9, Some(28)), forwarder, Where::Anywhere),
            "another type"
        );
        open.remove((9, Some(1)), stub, Where::Anywhere);
        assert!(!open.is_open_elsewhere((9, Some(1)), forwarder, Where::Anywhere));
        open.remove((9, Some(1)), forwarder, Where::Anywhere);
        assert!(open.is_empty());
    }

    #[test]
    fn one_whose_process_is_not_known_waits_too() {
        let mut open = OpenQuestions::default();
        open.add((9, None), None, Where::Anywhere);
        assert!(open.is_open_elsewhere((9, None), Some(Pid(1)), Where::Anywhere));
        open.remove((9, None), None, Where::Anywhere);
        assert!(open.is_empty());
    }

    #[test]
    fn a_question_to_loopback_is_one_to_anywhere() {
        let (mut open, client, other) = (OpenQuestions::default(), Some(Pid(1)), Some(Pid(2)));
        open.add((9, None), client, Where::Loopback);
        for server in [Where::Loopback, Where::Anywhere] {
            assert!(open.is_open_elsewhere((9, None), other, server));
            assert!(!open.is_open_elsewhere((9, None), client, server));
        }
        open.remove((9, None), client, Where::Loopback);
        assert!(open.is_empty());
        open.add((9, None), client, Where::Anywhere);
        assert!(!open.is_open_elsewhere((9, None), other, Where::Loopback));
    }
}
