//! One source that tries many ports.
//!
//! A scan asks many doors whether they are open; ordinary clients know theirs.
//! Browsers, mail, package managers and file shares use a handful of ports
//! however many hosts they talk to, so distinct ports are counted, not
//! connections or hosts.
//!
//! Fires falsely for programs that use many ports by design: peer-to-peer
//! clients, passive FTP, RPC services, a host that runs many clients of many
//! services behind one address. Allow those by process or source.

use std::time::{Duration, Instant};

use super::{
    actors::Actors,
    bounded::Bounded,
    event::{ConnectionAttempt, Host},
    finding::{Finding, Signal, Subject},
    window::{Distinct, Latch},
};
use crate::wire::AlertSeverity;

/// Sources followed at once. With the default threshold about 1 kB each once
/// they have tried many ports, so 2 MB at most.
pub(crate) const SOURCES: usize = 2_048;
/// Most ports a threshold can ask for: they are remembered per source.
const MOST_PORTS: usize = 1_000;

/// When a source is scanning: this many distinct destination ports within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortScanThreshold {
    /// Distinct ports, over all destinations; from 1 to 1,000. 20.
    pub ports: usize,
    /// How long back, its end included. 30 s.
    pub window: Duration,
}

impl Default for PortScanThreshold {
    fn default() -> Self {
        Self {
            ports: 20,
            window: Duration::from_secs(30),
        }
    }
}

#[derive(Debug)]
pub(crate) struct PortScan {
    sources: Bounded<Host, Source>,
}

#[derive(Debug)]
struct Source {
    ports: Distinct<u16>,
    actors: Actors,
    latch: Latch,
    seen: Instant,
}

impl PortScan {
    pub(crate) fn new() -> Self {
        Self {
            sources: Bounded::new(SOURCES),
        }
    }

    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: &ConnectionAttempt<'_>,
        threshold: PortScanThreshold,
    ) -> Option<Finding> {
        let limit = threshold.ports.clamp(1, MOST_PORTS);
        let source = self.sources.touch(event.source.clone(), || Source {
            ports: Distinct::default(),
            actors: Actors::Unknown,
            latch: Latch::default(),
            seen: now,
        });
        source.seen = now;
        let ports = source
            .ports
            .observe(now, event.port, threshold.window, limit);
        if ports == 1 {
            source.actors = Actors::new(event.actor);
        } else {
            source.actors.add(event.actor);
        }
        source.latch.fires(now, ports >= limit).then(|| Finding {
            signal: Signal::PortScan,
            severity: AlertSeverity::Critical,
            message: format!("Port scan from {}{}", event.source, source.actors),
            detail: format!(
                "{ports} different ports tried within {} s, the latest {}",
                threshold.window.as_secs(),
                event.destination.with_port(event.port),
            ),
            subject: Subject::Host(event.source.clone()),
            actors: source.actors.clone(),
        })
    }

    pub(crate) fn prune(&mut self, now: Instant, window: Duration) {
        self.sources.prune(|source| {
            now.saturating_duration_since(source.seen) > window.max(super::window::ACTIVE_FOR)
        });
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.sources.evicted()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{detect::event::Actor, reading::Pid};

    fn attempt(source: &str, port: u16) -> ConnectionAttempt<'static> {
        ConnectionAttempt {
            source: Host::from_text(source),
            destination: Host::from_text("192.0.2.7"),
            port,
            actor: None,
        }
    }

    /// Attempts at (milliseconds, port); the findings with their place.
    fn findings(attempts: impl IntoIterator<Item = (u64, u16)>) -> Vec<(usize, Finding)> {
        let start = Instant::now();
        let mut detector = PortScan::new();
        attempts
            .into_iter()
            .enumerate()
            .filter_map(|(place, (at, port))| {
                let now = start + Duration::from_millis(at);
                let found = detector.observe(
                    now,
                    &attempt("10.0.0.9", port),
                    PortScanThreshold::default(),
                );
                found.map(|finding| (place, finding))
            })
            .collect()
    }

    #[test]
    fn a_scan_of_100_ports_is_found_at_the_20th_and_once() {
        let found = findings((1..=100).map(|port| (u64::from(port) * 10, port)));
        assert_eq!(found.len(), 1);
        let (place, finding) = &found[0];
        assert_eq!(*place, 19);
        assert_eq!(finding.severity, AlertSeverity::Critical);
        assert_eq!(finding.subject, Subject::Host(Host::from_text("10.0.0.9")));
        assert_eq!(finding.message, "Port scan from 10.0.0.9");
        assert_eq!(
            finding.detail,
            "20 different ports tried within 30 s, the latest 192.0.2.7:20"
        );
    }

    #[test]
    fn nineteen_ports_are_no_scan() {
        assert_eq!(findings((1..=19).map(|port| (0, port))), []);
        assert_eq!(findings((0..500).map(|n| (n, (n % 19) as u16))), []);
    }

    #[test]
    fn the_window_slides_and_includes_its_end() {
        let slow = |last: u64| (0..20).map(move |n| (if n == 19 { last } else { n }, n as u16));
        assert_eq!(findings(slow(30_000)).len(), 1);
        assert_eq!(findings(slow(30_001)).len(), 0);
        // 10 ports at 29 s and 10 at 31 s: no fixed window of 30 s holds both.
        let split = (0..20).map(|n| (if n < 10 { 29_000 } else { 31_000 }, n as u16));
        assert_eq!(findings(split).len(), 1);
    }

    #[test]
    fn a_scan_that_goes_on_is_found_again_each_minute() {
        let found = findings((0..1_500u64).map(|n| (n * 100, n as u16)));
        assert_eq!(
            found.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
            [19, 619, 1219]
        );
    }

    #[test]
    fn the_scanning_process_is_named() {
        let mut detector = PortScan::new();
        let now = Instant::now();
        let found = (1..=20).find_map(|port| {
            let event = ConnectionAttempt {
                actor: Some(Actor {
                    pid: Pid(42),
                    name: "nmap",
                }),
                ..attempt("::1", port)
            };
            detector.observe(now, &event, PortScanThreshold::default())
        });
        assert_eq!(
            found.unwrap().message,
            "Port scan from ::1 by nmap (pid 42)"
        );
    }

    #[test]
    fn sources_do_not_add_up() {
        let mut detector = PortScan::new();
        let now = Instant::now();
        for source in 0..10 {
            for port in 0..19 {
                let event = attempt(&format!("10.0.0.{source}"), 100 * source + port);
                assert_eq!(
                    detector.observe(now, &event, PortScanThreshold::default()),
                    None
                );
            }
        }
    }

    #[test]
    fn a_browser_that_opens_a_page_is_no_scan() {
        // 300 connections in 5 s to 80 hosts, all to the ports browsers use.
        let page = (0..300u64).map(|n| (n * 17, [443, 443, 80, 443, 8443][n as usize % 5]));
        assert_eq!(findings(page), []);
    }

    #[test]
    fn a_package_upgrade_on_a_busy_server_is_no_scan() {
        let ports = [53, 80, 443, 9418, 123, 5432, 6379, 25, 587, 993, 389, 9092];
        let upgrade = (0..1_000u64).map(|n| (n * 25, ports[n as usize % ports.len()]));
        assert_eq!(findings(upgrade), []);
    }

    #[test]
    fn a_flood_of_sources_take_bounded_memory_and_are_counted() {
        let mut detector = PortScan::new();
        let now = Instant::now();
        for number in 0..100_000u32 {
            let event = ConnectionAttempt {
                source: std::net::IpAddr::from(number.to_be_bytes()).into(),
                destination: Host::from_text("192.0.2.7"),
                port: number as u16,
                actor: None,
            };
            detector.observe(now, &event, PortScanThreshold::default());
        }
        assert_eq!(detector.sources.len(), SOURCES);
        assert_eq!(detector.evicted(), 100_000 - SOURCES as u64);
        detector.prune(now + Duration::from_secs(61), Duration::from_secs(30));
        assert_eq!(detector.sources.len(), 0);
    }

    #[test]
    fn a_threshold_out_of_range_is_moved_into_it() {
        let mut detector = PortScan::new();
        let now = Instant::now();
        let none = PortScanThreshold {
            ports: 0,
            ..PortScanThreshold::default()
        };
        assert!(
            detector
                .observe(now, &attempt("10.0.0.1", 1), none)
                .is_some()
        );
        let all = PortScanThreshold {
            ports: usize::MAX,
            ..PortScanThreshold::default()
        };
        let found = (0..=u16::MAX).find(|port| {
            detector
                .observe(now, &attempt("10.0.0.2", *port), all)
                .is_some()
        });
        assert_eq!(found, Some(999));
    }

    proptest! {
        #[test]
        fn fires_only_with_20_ports_in_the_window(
            steps in prop::collection::vec((0u64..4_000, 0u16..60), 0..300),
        ) {
            let mut at = 0;
            let attempts: Vec<_> = steps.into_iter().map(|(wait, port)| { at += wait; (at, port) }).collect();
            for (place, _) in findings(attempts.clone()) {
                let (now, _) = attempts[place];
                let ports: std::collections::HashSet<u16> = attempts[..=place]
                    .iter()
                    .filter(|(at, _)| now - at <= 30_000)
                    .map(|(_, port)| *port)
                    .collect();
                prop_assert!(ports.len() >= 20);
            }
        }
    }
}
