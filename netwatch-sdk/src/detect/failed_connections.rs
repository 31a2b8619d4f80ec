//! Many connections that failed. Off unless configured.
//!
//! A service that is gone, a wrong address, a firewall rule, or a worm that
//! tries its neighbours. Counted per process where the process is known, else
//! per source.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    actors::Actors,
    bounded::Bounded,
    event::{ConnectionFailed, Failure, Host},
    finding::{Finding, Signal, Subject},
    window::{Latch, Recent},
};
use crate::{reading::Pid, wire::AlertSeverity};

/// Processes and sources followed at once. With the default threshold about
/// 1 kB each once they fail often: 1 MB at most.
pub(crate) const ORIGINS: usize = 1_024;
/// Most failures a threshold can ask for: their times are remembered.
const MOST: usize = 10_000;

/// When failed connections of one process are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedConnectionsThreshold {
    /// At least this many within the window; from 1 to 10,000. 30: a browser
    /// that meets a dead site tries it a few times, a client that retries every
    /// 10 s fails 6 times a minute.
    pub failures: usize,
    /// How long back. 60 s.
    pub window: Duration,
}

impl Default for FailedConnectionsThreshold {
    fn default() -> Self {
        Self {
            failures: 30,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Process(Pid),
    Source(Host),
}

#[derive(Debug)]
pub(crate) struct FailedConnections {
    origins: Bounded<Origin, Failures>,
}

#[derive(Debug)]
struct Failures {
    recent: Recent,
    latch: Latch,
    seen: Instant,
}

impl FailedConnections {
    pub(crate) fn new() -> Self {
        Self {
            origins: Bounded::new(ORIGINS),
        }
    }

    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: &ConnectionFailed<'_>,
        threshold: FailedConnectionsThreshold,
    ) -> Option<Finding> {
        let limit = threshold.failures.clamp(1, MOST);
        let attempt = &event.attempt;
        let origin = attempt.actor.map_or_else(
            || Origin::Source(attempt.source.clone()),
            |actor| Origin::Process(actor.pid),
        );
        let failures = self.origins.touch(origin.clone(), || Failures {
            recent: Recent::default(),
            latch: Latch::default(),
            seen: now,
        });
        failures.seen = now;
        let failed = failures.recent.observe(now, threshold.window, limit);
        failures.latch.fires(now, failed >= limit).then(|| {
            let actors = Actors::new(attempt.actor);
            Finding {
                signal: Signal::FailedConnections,
                severity: AlertSeverity::Warning,
                message: format!("Connections from {} fail{actors}", attempt.source),
                detail: format!(
                    "{failed} failed within {} s, the latest to {}: {}",
                    threshold.window.as_secs(),
                    attempt.destination.with_port(attempt.port),
                    event.failure,
                ),
                subject: match origin {
                    Origin::Process(pid) => Subject::Process(pid),
                    Origin::Source(host) => Subject::Host(host),
                },
                actors,
            }
        })
    }

    pub(crate) fn prune(&mut self, now: Instant, window: Duration) {
        self.origins.prune(|failures| {
            now.saturating_duration_since(failures.seen) > window.max(super::window::ACTIVE_FOR)
        });
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.origins.evicted()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::event::{Actor, ConnectionAttempt};

    fn failure(pid: Option<u32>) -> ConnectionFailed<'static> {
        ConnectionFailed {
            attempt: ConnectionAttempt {
                source: Host::from_text("10.0.0.9"),
                destination: Host::from_text("2001:db8::5"),
                port: 5432,
                actor: pid.map(|pid| Actor {
                    pid: Pid(pid),
                    name: "app",
                }),
            },
            failure: Failure::Refused,
        }
    }

    /// A failure at each time, in milliseconds; the findings with their place.
    fn findings(times: impl IntoIterator<Item = u64>) -> Vec<(usize, Finding)> {
        let start = Instant::now();
        let mut detector = FailedConnections::new();
        times
            .into_iter()
            .enumerate()
            .filter_map(|(place, at)| {
                let now = start + Duration::from_millis(at);
                let found = detector.observe(
                    now,
                    &failure(Some(7)),
                    FailedConnectionsThreshold::default(),
                );
                found.map(|finding| (place, finding))
            })
            .collect()
    }

    #[test]
    fn a_client_of_a_dead_service_is_found_at_the_30th_failure_and_once() {
        let found = findings((0..200).map(|n| n * 100));
        assert_eq!(found.len(), 1);
        let (place, finding) = &found[0];
        assert_eq!(*place, 29);
        assert_eq!(
            finding.message,
            "Connections from 10.0.0.9 fail by app (pid 7)"
        );
        assert_eq!(
            finding.detail,
            "30 failed within 60 s, the latest to [2001:db8::5]:5432: refused"
        );
        assert_eq!(
            finding.to_alert(chrono::Utc::now()),
            None,
            "the wire has no category for it"
        );
    }

    #[test]
    fn twenty_nine_failures_are_not_enough_nor_are_30_in_exactly_a_minute() {
        assert_eq!(findings(0..29), []);
        assert_eq!(findings((0..29).chain([60_000])), []);
        assert_eq!(findings((0..29).chain([59_999])).len(), 1);
    }

    #[test]
    fn processes_do_not_add_up_and_sources_stand_in_where_none_is_known() {
        let mut detector = FailedConnections::new();
        let now = Instant::now();
        for pid in 0..100 {
            for _ in 0..29 {
                let found = detector.observe(
                    now,
                    &failure(Some(pid)),
                    FailedConnectionsThreshold::default(),
                );
                assert_eq!(found, None);
            }
        }
        let found = (0..30).find_map(|_| {
            detector.observe(now, &failure(None), FailedConnectionsThreshold::default())
        });
        assert_eq!(
            found.unwrap().subject,
            Subject::Host(Host::from_text("10.0.0.9"))
        );
    }

    #[test]
    fn ordinary_failures_are_not_reported() {
        // A page with five dead trackers tried three times, a mirror tried by an
        // upgrade, a health check of a service that is down.
        assert_eq!(findings((0..15).map(|n| n * 300)), []);
        assert_eq!(findings((0..8).map(|n| n * 2_000)), []);
        assert_eq!(findings((0..360).map(|n| n * 10_000)), []);
    }

    #[test]
    fn a_flood_of_sources_take_bounded_memory_and_are_counted() {
        let mut detector = FailedConnections::new();
        let now = Instant::now();
        for number in 0..100_000u32 {
            let mut event = failure(None);
            event.attempt.source = std::net::IpAddr::from(number.to_be_bytes()).into();
            detector.observe(now, &event, FailedConnectionsThreshold::default());
        }
        assert_eq!(detector.origins.len(), ORIGINS);
        assert_eq!(detector.evicted(), 100_000 - ORIGINS as u64);
        detector.prune(now + Duration::from_secs(61), Duration::from_secs(60));
        assert_eq!(detector.origins.len(), 0);
    }
}
