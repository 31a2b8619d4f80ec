//! Many TCP segments sent again to one peer. Off unless configured.
//!
//! Lost packets cost throughput long before anything fails. Both a number and
//! a share are asked for: a busy sender always sends some again (1 % is
//! common over the internet), and one lost packet of five is no storm.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    actors::Actors,
    bounded::Bounded,
    event::{Host, Retransmits},
    finding::{Finding, Signal, Subject},
    window::Latch,
};
use crate::wire::AlertSeverity;

/// Peers followed at once, about 1.5 kB each when busy: 1.6 MB at most.
pub(crate) const PEERS: usize = 1_024;
/// Parts a window is kept in; its figures are at most one part short.
const PARTS: u32 = 20;

/// When segments sent again to one peer are a storm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetransmitStormThreshold {
    /// At least this many sent again within the window. 100.
    pub segments: u64,
    /// And at least this share of all that were sent; asked only of events that
    /// know how many were. 0.05: throughput of a TCP connection that loses 5 %
    /// is a fraction of the link's.
    pub share: f64,
    /// How long back. 60 s.
    pub window: Duration,
}

impl Default for RetransmitStormThreshold {
    fn default() -> Self {
        Self {
            segments: 100,
            share: 0.05,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
pub(crate) struct RetransmitStorm {
    peers: Bounded<Host, Peer>,
}

#[derive(Debug)]
struct Peer {
    /// Oldest first.
    parts: VecDeque<Part>,
    actors: Actors,
    latch: Latch,
    seen: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    since: Instant,
    retransmitted: u64,
    /// Of the events that know it: what was sent, and of it sent again.
    sent: u64,
    sent_again: u64,
}

impl RetransmitStorm {
    pub(crate) fn new() -> Self {
        Self {
            peers: Bounded::new(PEERS),
        }
    }

    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: &Retransmits<'_>,
        threshold: RetransmitStormThreshold,
    ) -> Option<Finding> {
        let peer = self.peers.touch(event.remote.clone(), || Peer {
            parts: VecDeque::new(),
            actors: Actors::Unknown,
            latch: Latch::default(),
            seen: now,
        });
        peer.seen = now;
        peer.add(now, event, threshold.window);
        if event.retransmitted == 0 {
            return None;
        }
        peer.actors.add(event.actor);

        let sum = |figure: fn(&Part) -> u64| {
            peer.parts
                .iter()
                .fold(0u64, |sum, part| sum.saturating_add(figure(part)))
        };
        let retransmitted = sum(|part| part.retransmitted);
        let sent = sum(|part| part.sent);
        let share = (sent > 0).then(|| sum(|part| part.sent_again) as f64 / sent as f64);
        let over = retransmitted >= threshold.segments.max(1)
            && share.is_none_or(|share| share >= threshold.share);
        peer.latch.fires(now, over).then(|| Finding {
            signal: Signal::RetransmitStorm,
            severity: AlertSeverity::Warning,
            message: format!("Retransmit storm to {}{}", event.remote, peer.actors),
            detail: format!(
                "{retransmitted} segments sent again within {} s{}",
                threshold.window.as_secs(),
                share.map_or_else(String::new, |share| format!(
                    ", {:.1} % of those sent",
                    share * 100.0
                )),
            ),
            subject: Subject::Host(event.remote.clone()),
            actors: peer.actors.clone(),
        })
    }

    pub(crate) fn prune(&mut self, now: Instant, window: Duration) {
        self.peers.prune(|peer| {
            now.saturating_duration_since(peer.seen) > window.max(super::window::ACTIVE_FOR)
        });
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.peers.evicted()
    }
}

impl Peer {
    fn add(&mut self, now: Instant, event: &Retransmits<'_>, window: Duration) {
        let age = |part: &Part| now.saturating_duration_since(part.since);
        while self.parts.front().is_some_and(|part| age(part) >= window) {
            self.parts.pop_front();
        }
        if self.parts.is_empty() {
            self.actors = Actors::Unknown;
        }
        if self
            .parts
            .back()
            .is_none_or(|part| age(part) >= window / PARTS)
        {
            self.parts.push_back(Part {
                since: now,
                retransmitted: 0,
                sent: 0,
                sent_again: 0,
            });
        }
        if let Some(part) = self.parts.back_mut() {
            part.retransmitted = part.retransmitted.saturating_add(event.retransmitted);
            if let Some(sent) = event.sent {
                part.sent = part.sent.saturating_add(sent);
                part.sent_again = part.sent_again.saturating_add(event.retransmitted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{detect::event::Actor, reading::Pid};

    /// Events at (seconds, sent again, sent); the findings with their place.
    fn findings(
        events: impl IntoIterator<Item = (u64, u64, Option<u64>)>,
    ) -> Vec<(usize, Finding)> {
        let start = Instant::now();
        let mut detector = RetransmitStorm::new();
        events
            .into_iter()
            .enumerate()
            .filter_map(|(place, (at, retransmitted, sent))| {
                let event = Retransmits {
                    remote: Host::from_text("203.0.113.5"),
                    retransmitted,
                    sent,
                    actor: Some(Actor {
                        pid: Pid(9),
                        name: "rsync",
                    }),
                };
                let now = start + Duration::from_secs(at);
                let found = detector.observe(now, &event, RetransmitStormThreshold::default());
                found.map(|finding| (place, finding))
            })
            .collect()
    }

    #[test]
    fn a_transfer_that_loses_every_tenth_segment_is_found_once() {
        let found = findings((0..60).map(|at| (at, 10, Some(100))));
        assert_eq!(found.len(), 1);
        let (place, finding) = &found[0];
        assert_eq!(*place, 9);
        assert_eq!(
            finding.message,
            "Retransmit storm to 203.0.113.5 by rsync (pid 9)"
        );
        assert_eq!(
            finding.detail,
            "100 segments sent again within 60 s, 10.0 % of those sent"
        );
        assert_eq!(
            finding.to_alert(chrono::Utc::now()),
            None,
            "the wire has no category for it"
        );
    }

    #[test]
    fn number_and_share_have_exact_borders() {
        assert_eq!(findings([(0, 99, Some(100))]), []);
        assert_eq!(findings([(0, 100, Some(2_001))]), []);
        assert_eq!(findings([(0, 100, Some(2_000))]).len(), 1);
        assert_eq!(findings([(0, 100, None)]).len(), 1);
        assert_eq!(findings([(0, 99, None), (60, 1, None)]), []);
        assert_eq!(findings([(0, 99, None), (59, 1, None)]).len(), 1);
    }

    #[test]
    fn ordinary_losses_are_no_storm() {
        // A package upgrade at full speed with 1 % lost, a page, a health check.
        assert_eq!(findings((0..60).map(|at| (at, 80, Some(8_000)))), []);
        assert_eq!(findings((0..60).map(|at| (at, at % 2, Some(40)))), []);
        assert_eq!(findings((0..60).map(|at| (at * 10, 0, Some(6)))), []);
    }

    #[test]
    fn a_flood_of_peers_take_bounded_memory_and_are_counted() {
        let mut detector = RetransmitStorm::new();
        let now = Instant::now();
        for number in 0..100_000u32 {
            let event = Retransmits {
                remote: std::net::IpAddr::from(number.to_be_bytes()).into(),
                retransmitted: 1,
                sent: None,
                actor: None,
            };
            detector.observe(now, &event, RetransmitStormThreshold::default());
        }
        assert_eq!(detector.peers.len(), PEERS);
        assert_eq!(detector.evicted(), 100_000 - PEERS as u64);
    }

    proptest! {
        #[test]
        fn any_figures_are_survived_in_bounded_memory(
            events in prop::collection::vec((0u64..90, any::<u64>(), any::<Option<u64>>()), 0..100),
        ) {
            findings(events.clone());
            let start = Instant::now();
            let mut detector = RetransmitStorm::new();
            for (at, retransmitted, sent) in events {
                let event = Retransmits { remote: Host::from_text("::1"), retransmitted, sent, actor: None };
                detector.observe(start + Duration::from_secs(at), &event, RetransmitStormThreshold::default());
            }
            detector.peers.prune(|peer| { assert!(peer.parts.len() <= PARTS as usize); true });
        }
    }
}
