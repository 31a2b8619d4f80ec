//! Connections to the same place at regular intervals.
//!
//! Malware that waits for orders calls home on a timer. So do health checks,
//! monitoring and update checks: a check that connects anew every 10 s is
//! periodic, and this detector says so. It reports a pattern, not a verdict,
//! which is why its severity is a warning; known ones are allowed by process,
//! destination or port ([`Allow`](super::Allow)).
//!
//! An *arrival* is one or more attempts closer together than
//! [`gap`](BeaconThreshold::gap): a client that opens six connections at once
//! arrived once. An *interval* is the time from the first attempt of one
//! arrival to the first of the next. *Jitter* is the coefficient of variation
//! of the last intervals, at most 8: their standard deviation (of the
//! population) divided by their mean. A timer that varies evenly by ±p % has
//! a jitter of p/√3 %, so up to ±25 % is found.
//!
//! Up to 8 intervals are weighed, because of 4 random ones (exponential, as
//! independent arrivals are) about 1 in 200 sets is as regular by chance, of 8
//! about 1 in 100,000.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    actors::Actors,
    bounded::Bounded,
    event::{ConnectionAttempt, Host},
    finding::{Finding, Signal, Subject},
    window::Latch,
};
use crate::wire::AlertSeverity;

/// Flows followed at once, about 200 bytes each and 400 once they repeat: 3.5 MB at most.
/// A beacon is missed when more new flows than this appear between two of its calls.
pub(crate) const FLOWS: usize = 8_192;
/// Intervals weighed.
const INTERVALS: usize = 8;

/// When attempts from one source to one port of one destination are a beacon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeaconThreshold {
    /// Arrivals needed; from 3 to 9. 5.
    pub attempts: usize,
    /// The jitter must be below this; 0.15 is 15 %.
    pub jitter: f64,
    /// Attempts closer together than this are one arrival. 500 ms: below it are the
    /// connections of one page or one request, and loops that connect as fast as the
    /// network answers. Timers are set in seconds, and one of 1 s keeps clear of it.
    pub gap: Duration,
    /// A longer silence starts anew. 1 h: the longest interval common among beacons.
    pub silence: Duration,
}

impl Default for BeaconThreshold {
    fn default() -> Self {
        Self {
            attempts: 5,
            jitter: 0.15,
            gap: Duration::from_millis(500),
            silence: Duration::from_secs(3_600),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Flow {
    source: Host,
    destination: Host,
    port: u16,
}

#[derive(Debug)]
pub(crate) struct Beacon {
    flows: Bounded<Flow, Arrivals>,
}

#[derive(Debug)]
struct Arrivals {
    /// The first attempt of the latest arrival.
    arrived: Instant,
    /// The latest attempt.
    seen: Instant,
    /// Oldest first.
    intervals: VecDeque<Duration>,
    actors: Actors,
    latch: Latch,
}

impl Beacon {
    pub(crate) fn new() -> Self {
        Self {
            flows: Bounded::new(FLOWS),
        }
    }

    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: &ConnectionAttempt<'_>,
        threshold: BeaconThreshold,
    ) -> Option<Finding> {
        let flow = Flow {
            source: event.source.clone(),
            destination: event.destination.clone(),
            port: event.port,
        };
        let mut first = false;
        let arrivals = self.flows.touch(flow, || {
            first = true;
            Arrivals {
                arrived: now,
                seen: now,
                intervals: VecDeque::new(),
                actors: Actors::new(event.actor),
                latch: Latch::default(),
            }
        });
        if first {
            return None;
        }
        let pause = now.saturating_duration_since(arrivals.seen);
        arrivals.seen = arrivals.seen.max(now);
        if pause < threshold.gap {
            return None;
        }
        let interval = now.saturating_duration_since(arrivals.arrived);
        arrivals.arrived = now;
        if interval > threshold.silence {
            arrivals.intervals.clear();
            arrivals.actors = Actors::new(event.actor);
            return None;
        }
        arrivals.actors.add(event.actor);
        if arrivals.intervals.len() >= INTERVALS {
            arrivals.intervals.pop_front();
        }
        arrivals.intervals.push_back(interval);

        let needed = threshold.attempts.clamp(3, INTERVALS + 1) - 1;
        if arrivals.intervals.len() < needed {
            return None;
        }
        let (mean, jitter) = regularity(&arrivals.intervals);
        arrivals
            .latch
            .fires(now, jitter < threshold.jitter)
            .then(|| Finding {
                signal: Signal::Beaconing,
                severity: AlertSeverity::Warning,
                message: format!(
                    "Regular connections from {} to {}{}",
                    event.source,
                    event.destination.with_port(event.port),
                    arrivals.actors,
                ),
                detail: format!(
                    "{} arrivals, one every {mean:.1} s, jitter {:.1} %",
                    arrivals.intervals.len() + 1,
                    jitter * 100.0,
                ),
                subject: Subject::Flow {
                    source: event.source.clone(),
                    destination: event.destination.clone(),
                    port: event.port,
                },
                actors: arrivals.actors.clone(),
            })
    }

    pub(crate) fn prune(&mut self, now: Instant, silence: Duration) {
        self.flows
            .prune(|arrivals| now.saturating_duration_since(arrivals.seen) > silence);
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.flows.evicted()
    }
}

/// Mean of the intervals in seconds, and their coefficient of variation.
fn regularity(intervals: &VecDeque<Duration>) -> (f64, f64) {
    let count = intervals.len() as f64;
    let mean = intervals.iter().map(Duration::as_secs_f64).sum::<f64>() / count;
    let variance = intervals
        .iter()
        .map(|interval| (interval.as_secs_f64() - mean).powi(2))
        .sum::<f64>()
        / count;
    if mean > 0.0 {
        (mean, variance.sqrt() / mean)
    } else {
        (0.0, f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{detect::event::Actor, reading::Pid};

    fn call(port: u16) -> ConnectionAttempt<'static> {
        ConnectionAttempt {
            source: Host::from_text("10.0.0.9"),
            destination: Host::from_text("203.0.113.5"),
            port,
            actor: None,
        }
    }

    /// The first attempt, then one after each pause; the findings with their place.
    fn findings(pauses: impl IntoIterator<Item = Duration>) -> Vec<(usize, Finding)> {
        let mut now = Instant::now();
        let mut detector = Beacon::new();
        let threshold = BeaconThreshold::default();
        assert_eq!(detector.observe(now, &call(443), threshold), None);
        pauses
            .into_iter()
            .enumerate()
            .filter_map(|(place, pause)| {
                now += pause;
                let found = detector.observe(now, &call(443), threshold);
                found.map(|finding| (place + 2, finding))
            })
            .collect()
    }

    fn seconds(pauses: &[f64]) -> Vec<(usize, Finding)> {
        findings(pauses.iter().map(|pause| Duration::from_secs_f64(*pause)))
    }

    #[test]
    fn a_beacon_with_5_percent_jitter_is_found_at_the_5th_attempt() {
        let found = seconds(&[57.0, 63.0, 60.5, 58.9, 61.0]);
        let (place, finding) = &found[0];
        assert_eq!(*place, 5);
        assert_eq!(finding.severity, AlertSeverity::Warning);
        assert_eq!(
            finding.message,
            "Regular connections from 10.0.0.9 to 203.0.113.5:443"
        );
        assert_eq!(finding.detail, "5 arrivals, one every 59.9 s, jitter 3.7 %");
        assert_eq!(found[1].0, 6, "found again a minute later");
    }

    #[test]
    fn four_attempts_are_no_beacon() {
        assert_eq!(seconds(&[60.0, 60.0, 60.0]), []);
    }

    #[test]
    fn fifteen_percent_of_jitter_is_too_much_and_less_is_not() {
        // Mean 10 s, standard deviation 1.5 s, all exact in binary.
        assert_eq!(seconds(&[8.5, 11.5, 8.5, 11.5]), []);
        assert_eq!(seconds(&[8.51, 11.49, 8.51, 11.49]).len(), 1);
    }

    #[test]
    fn a_beacon_that_opens_two_connections_a_call_is_found() {
        let found = seconds(&[0.02, 59.98, 0.02, 59.98, 0.02, 59.98, 0.02, 59.98]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].1.detail.contains("jitter 0.0 %"),
            "{}",
            found[0].1.detail
        );
    }

    #[test]
    fn a_silence_of_more_than_an_hour_starts_anew() {
        assert_eq!(seconds(&[60.0, 60.0, 3_600.1, 60.0, 60.0, 60.0]), []);
        assert_eq!(seconds(&[3_600.0; 4]).len(), 1);
    }

    #[test]
    fn ports_and_hosts_are_flows_of_their_own() {
        let mut detector = Beacon::new();
        let start = Instant::now();
        for n in 0..40u16 {
            let now = start + Duration::from_secs(10) * u32::from(n);
            assert_eq!(
                detector
                    .observe(now, &call(n % 10), BeaconThreshold::default())
                    .is_some(),
                n >= 40
            );
        }
    }

    #[test]
    fn the_calling_process_is_named() {
        let mut detector = Beacon::new();
        let start = Instant::now();
        let found = (0..5).find_map(|n| {
            let event = ConnectionAttempt {
                actor: Some(Actor {
                    pid: Pid(7),
                    name: "curl",
                }),
                ..call(443)
            };
            detector.observe(
                start + Duration::from_secs(n),
                &event,
                BeaconThreshold::default(),
            )
        });
        assert_eq!(
            found.unwrap().message,
            "Regular connections from 10.0.0.9 to 203.0.113.5:443 by curl (pid 7)"
        );
    }

    #[test]
    fn a_browser_that_opens_a_page_is_no_beacon() {
        // Six connections at once, then more as the page asks for them and the reader clicks.
        let page = [
            0.0004, 0.0004, 0.0004, 0.0004, 0.0004, 0.31, 0.002, 1.9, 0.05, 0.05, 0.05, 7.2, 0.0,
            0.4, 31.0, 0.001,
        ];
        assert_eq!(seconds(&page), []);
    }

    #[test]
    fn connections_of_one_page_are_one_arrival_even_when_evenly_spaced() {
        assert_eq!(seconds(&[0.108; 40]), []);
        assert_eq!(seconds(&[0.499; 40]), []);
        assert_eq!(seconds(&[0.5; 4]).len(), 1);
    }

    #[test]
    fn a_package_upgrade_is_no_beacon() {
        // One connection a package, as long as its download takes.
        let upgrade = [
            0.12, 0.9, 0.35, 4.1, 0.2, 0.15, 2.6, 0.11, 0.75, 11.0, 0.3, 0.5, 1.8,
        ];
        assert_eq!(seconds(&upgrade), []);
    }

    #[test]
    fn a_loop_that_connects_as_fast_as_it_can_is_no_beacon() {
        assert_eq!(
            findings((0..10_000).map(|_| Duration::from_micros(900))),
            []
        );
    }

    #[test]
    fn a_health_check_every_10_seconds_is_periodic_and_reported() {
        let found = findings((0..30).map(|_| Duration::from_secs(10)));
        assert_eq!(found[0].0, 5);
        assert_eq!(found.len(), 5, "once a minute as long as it lasts");
    }

    #[test]
    fn a_flood_of_flows_take_bounded_memory_and_are_counted() {
        let mut detector = Beacon::new();
        let now = Instant::now();
        for number in 0..100_000u32 {
            let event = ConnectionAttempt {
                source: std::net::IpAddr::from(number.to_be_bytes()).into(),
                ..call(number as u16)
            };
            detector.observe(now, &event, BeaconThreshold::default());
        }
        assert_eq!(detector.flows.len(), FLOWS);
        assert_eq!(detector.evicted(), 100_000 - FLOWS as u64);
        detector.prune(now + Duration::from_secs(3_601), Duration::from_secs(3_600));
        assert_eq!(detector.flows.len(), 0);
    }

    #[test]
    fn random_arrivals_are_seldom_as_regular() {
        // Exponential intervals by inversion of a fixed sequence.
        let mut state = 88_172_645_463_325_252_u64;
        let mut chance = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut false_alarms = 0;
        for _ in 0..200 {
            let pauses: Vec<_> = (0..500)
                .map(|_| Duration::from_secs_f64(-30.0 * (1.0 - chance()).ln()))
                .collect();
            false_alarms += findings(pauses).len();
        }
        assert!(false_alarms <= 10, "{false_alarms} in 100,000 arrivals");
    }

    proptest! {
        #[test]
        fn a_timer_that_varies_by_up_to_14_percent_is_always_found(
            period in 1.0f64..3_000.0,
            varied in prop::collection::vec(-0.14f64..0.14, 4),
        ) {
            let pauses: Vec<f64> = varied.iter().map(|by| period * (1.0 + by)).collect();
            // Deviations of at most 14 % of the period around a mean that may itself be 14 % lower.
            let mean = pauses.iter().sum::<f64>() / 4.0;
            let deviation = (pauses.iter().map(|pause| (pause - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
            prop_assume!(deviation / mean < 0.1499);
            prop_assert_eq!(seconds(&pauses).len(), 1);
        }

        #[test]
        fn any_arrivals_in_any_order_are_survived(at in prop::collection::vec(any::<u32>(), 0..100)) {
            let start = Instant::now();
            let mut detector = Beacon::new();
            for at in at {
                detector.observe(start + Duration::from_millis(at.into()), &call(443), BeaconThreshold::default());
            }
        }
    }
}
