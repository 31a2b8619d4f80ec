//! The findings that are active, and those that were.

use std::{collections::VecDeque, hash::RandomState, time::Instant};

use hashlink::LinkedHashMap;

use super::{
    event::Moment,
    finding::{Finding, Signal, Subject},
    window::ACTIVE_FOR,
};
use crate::wire::{Alert, AlertSeverity};

/// Most findings active at once, about 1 kB each. The oldest makes room.
pub(crate) const ACTIVE: usize = 1_024;
/// Alerts remembered.
pub(crate) const HISTORY: usize = 100;

/// A finding and when it was made.
#[derive(Debug, Clone)]
pub struct Raised {
    /// What was found.
    pub finding: Finding,
    /// When.
    pub at: Moment,
}

/// What makes two findings the same.
type Kind = (Signal, AlertSeverity, Subject);

#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Oldest first.
    active: LinkedHashMap<Kind, Raised, RandomState>,
    history: VecDeque<Alert>,
    /// Alerts that ever were in `history`.
    raised: u64,
    evicted: u64,
}

impl Findings {
    /// Adds a finding, unless the same one is still active.
    pub(crate) fn raise(&mut self, now: Moment, finding: Finding) {
        self.age(now.monotonic);
        let kind = (finding.signal, finding.severity, finding.subject.clone());
        if self.active.contains_key(&kind) {
            return;
        }
        if let Some(alert) = finding.to_alert(now.wall) {
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(alert);
            self.raised += 1;
        }
        if self.active.len() >= ACTIVE {
            self.active.pop_front();
            self.evicted += 1;
        }
        self.active.insert(kind, Raised { finding, at: now });
    }

    /// Drops what is no longer active.
    pub(crate) fn age(&mut self, now: Instant) {
        while self
            .active
            .front()
            .is_some_and(|(_, raised)| !is_active(raised, now))
        {
            self.active.pop_front();
        }
    }

    /// What is active, oldest first.
    pub(crate) fn active(&self, now: Instant) -> impl Iterator<Item = &Raised> {
        self.active
            .values()
            .filter(move |raised| is_active(raised, now))
    }

    /// The last alerts, oldest first.
    pub(crate) const fn history(&self) -> &VecDeque<Alert> {
        &self.history
    }

    /// How many alerts were raised so far.
    pub(crate) const fn raised(&self) -> u64 {
        self.raised
    }

    /// The last alerts but those that were among the first `raised`, oldest first.
    pub(crate) fn since(&self, raised: u64) -> impl Iterator<Item = &Alert> {
        let new = usize::try_from(self.raised.saturating_sub(raised)).unwrap_or(usize::MAX);
        self.history
            .iter()
            .skip(self.history.len().saturating_sub(new))
    }

    /// Active findings dropped to make room.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn is_active(raised: &Raised, now: Instant) -> bool {
    now.saturating_duration_since(raised.at.monotonic) < ACTIVE_FOR
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::detect::Actors;

    fn about(domain: &str, signal: Signal) -> Finding {
        Finding {
            signal,
            severity: AlertSeverity::Warning,
            subject: Subject::Domain(domain.to_owned()),
            actors: Actors::Unknown,
            message: format!("about {domain}"),
            detail: String::new(),
        }
    }

    fn later(start: Moment, by: Duration) -> Moment {
        Moment {
            monotonic: start.monotonic + by,
            wall: start.wall,
        }
    }

    #[test]
    fn the_same_finding_is_not_raised_again_while_active() {
        let start = Moment::now();
        let mut findings = Findings::default();
        findings.raise(start, about("a.test", Signal::DnsTunnel));
        findings.raise(
            later(start, Duration::from_millis(59_999)),
            about("a.test", Signal::DnsTunnel),
        );
        assert_eq!(findings.history().len(), 1);
        findings.raise(later(start, ACTIVE_FOR), about("a.test", Signal::DnsTunnel));
        assert_eq!(findings.history().len(), 2);
        assert_eq!(findings.active(start.monotonic + ACTIVE_FOR).count(), 1);
    }

    #[test]
    fn a_finding_is_active_for_a_minute() {
        let start = Moment::now();
        let mut findings = Findings::default();
        findings.raise(start, about("a.test", Signal::DnsTunnel));
        assert_eq!(
            findings
                .active(start.monotonic + Duration::from_millis(59_999))
                .count(),
            1
        );
        assert_eq!(findings.active(start.monotonic + ACTIVE_FOR).count(), 0);
        assert_eq!(findings.history().len(), 1);
    }

    #[test]
    fn a_signal_without_a_category_stays_out_of_the_wire_history() {
        let start = Moment::now();
        let mut findings = Findings::default();
        findings.raise(start, about("a.test", Signal::RetransmitStorm));
        assert_eq!(findings.active(start.monotonic).count(), 1);
        assert!(findings.history().is_empty());
    }

    #[test]
    fn findings_are_bounded_and_what_made_room_is_counted() {
        let start = Moment::now();
        let mut findings = Findings::default();
        for number in 0..3_000 {
            findings.raise(start, about(&format!("{number}.test"), Signal::DnsTunnel));
        }
        assert_eq!(findings.active(start.monotonic).count(), ACTIVE);
        assert_eq!(findings.evicted(), 3_000 - ACTIVE as u64);
        assert_eq!(findings.history().len(), HISTORY);
        assert_eq!(findings.history()[HISTORY - 1].message, "about 2999.test");
    }
}
