//! Data carried out, or in, inside DNS names.
//!
//! A tunnel writes its data into the name asked for, under a domain whose
//! server its owner runs. Each query carries little, so names are long, or
//! many, and never repeat.
//!
//! Fires falsely for names that carry data by design: reputation services of
//! mail and virus filters (which ask for an address or a hash under one
//! domain), some content networks, internal names of cloud services. Allow
//! those by domain. Reverse lookups are allowed by default.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use super::{
    actors::Actors,
    bounded::Bounded,
    domain,
    event::DnsQuery,
    finding::{Finding, Signal, Subject},
    text::clean,
    window::{Distinct, Latch, Recent},
};
use crate::wire::AlertSeverity;

/// Parent domains followed at once. With the default threshold about 2.5 kB
/// each once they are busy, so 2.6 MB at most.
pub(crate) const PARENTS: usize = 1_024;
/// Most queries and subdomains a threshold can ask for: they are remembered per parent.
const MOST: usize = 1_000;
/// How much of a long name the finding shows.
const SHOWN: usize = 120;

/// When DNS queries are a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsTunnelThreshold {
    /// Names longer than this, dots included and a trailing one not. 80: names people
    /// chose are shorter, a reverse lookup of an IPv6 address is 72 bytes.
    pub name_bytes: usize,
    /// More queries than this to one parent domain within the window; at most 1,000. 50.
    pub queries: usize,
    /// And more distinct names below it than this; at most 1,000. 30: a page and all that
    /// it loads from one domain asks for fewer.
    pub subdomains: usize,
    /// How long back. 60 s.
    pub window: Duration,
}

impl Default for DnsTunnelThreshold {
    fn default() -> Self {
        Self {
            name_bytes: 80,
            queries: 50,
            subdomains: 30,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
pub(crate) struct DnsTunnel {
    parents: Bounded<String, Parent>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Parent {
    queries: Recent,
    /// Hashes of what stands before the parent: 64 bits, seeded at random.
    subdomains: Distinct<u64>,
    actors: Actors,
    many: Latch,
    long: Latch,
    seen: Instant,
}

impl DnsTunnel {
    pub(crate) fn new() -> Self {
        Self {
            parents: Bounded::new(PARENTS),
            hasher: RandomState::new(),
        }
    }

    /// `name` is the query's, folded, and `domain` its parent. One query makes at most one finding; a
    /// tunnel by number is the graver one.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: &DnsQuery<'_>,
        name: &str,
        domain: &str,
        threshold: DnsTunnelThreshold,
    ) -> Option<Finding> {
        let parent = self.parents.touch(domain.to_owned(), || Parent {
            queries: Recent::default(),
            subdomains: Distinct::default(),
            actors: Actors::Unknown,
            many: Latch::default(),
            long: Latch::default(),
            seen: now,
        });
        parent.seen = now;
        let queries = threshold.queries.min(MOST) + 1;
        let subdomains = threshold.subdomains.min(MOST) + 1;
        let asked = parent.queries.observe(now, threshold.window, queries);
        let distinct = parent.subdomains.observe(
            now,
            self.hasher.hash_one(domain::below(name, domain)),
            threshold.window,
            subdomains,
        );
        if asked == 1 {
            parent.actors = Actors::new(event.actor);
        } else {
            parent.actors.add(event.actor);
        }

        let many = asked >= queries && distinct >= subdomains;
        let length = domain::length(name);
        let (severity, message, detail) = if parent.many.fires(now, many) {
            (
                AlertSeverity::Critical,
                format!(
                    "DNS tunnel suspected under {}{}",
                    clean(domain, SHOWN),
                    parent.actors
                ),
                format!(
                    "more than {} queries for more than {} names within {} s",
                    queries - 1,
                    subdomains - 1,
                    threshold.window.as_secs()
                ),
            )
        } else if parent.long.fires(now, length > threshold.name_bytes) {
            (
                AlertSeverity::Warning,
                format!(
                    "DNS name of {length} bytes under {}{}",
                    clean(domain, SHOWN),
                    parent.actors
                ),
                format!("asked for {}", clean(name, SHOWN)),
            )
        } else {
            return None;
        };
        Some(Finding {
            signal: Signal::DnsTunnel,
            severity,
            subject: Subject::Domain(clean(domain, 255)),
            actors: parent.actors.clone(),
            message,
            detail,
        })
    }

    pub(crate) fn prune(&mut self, now: Instant, window: Duration) {
        self.parents.prune(|parent| {
            now.saturating_duration_since(parent.seen) > window.max(super::window::ACTIVE_FOR)
        });
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.parents.evicted()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        detect::event::{Actor, Host},
        reading::Pid,
    };

    fn query(name: &str) -> DnsQuery<'_> {
        DnsQuery {
            txid: 1,
            client: Host::from_text("10.0.0.9"),
            client_port: None,
            server: Host::from_text("10.0.0.1"),
            name,
            record_type: None,
            socket: None,
            actor: Some(Actor {
                pid: Pid(7),
                name: "iodine",
            }),
        }
    }

    /// Queries at (milliseconds, name); the findings with their place.
    fn findings(queries: impl IntoIterator<Item = (u64, String)>) -> Vec<(usize, Finding)> {
        let start = Instant::now();
        let mut detector = DnsTunnel::new();
        queries
            .into_iter()
            .enumerate()
            .filter_map(|(place, (at, name))| {
                let now = start + Duration::from_millis(at);
                let found = detector.observe(
                    now,
                    &query(&name),
                    &name,
                    domain::parent(&name),
                    DnsTunnelThreshold::default(),
                );
                found.map(|finding| (place, finding))
            })
            .collect()
    }

    #[test]
    fn a_tunnel_of_200_random_subdomains_is_found_at_the_51st_query_and_once() {
        let found = findings((0..200u64).map(|n| {
            (
                n * 100,
                format!("{:08x}.t.example.com", n.wrapping_mul(2_654_435_761) as u32),
            )
        }));
        assert_eq!(found.len(), 1);
        let (place, finding) = &found[0];
        assert_eq!(*place, 50);
        assert_eq!(finding.severity, AlertSeverity::Critical);
        assert_eq!(finding.subject, Subject::Domain("example.com".into()));
        assert_eq!(
            finding.message,
            "DNS tunnel suspected under example.com by iodine (pid 7)"
        );
        assert_eq!(
            finding.detail,
            "more than 50 queries for more than 30 names within 60 s"
        );
    }

    #[test]
    fn fifty_queries_a_minute_are_no_tunnel() {
        assert_eq!(
            findings((0..50).map(|n| (n, format!("{n}.example.com")))),
            []
        );
        // 50 a minute for an hour.
        assert_eq!(
            findings((0..3_000).map(|n| (n * 1_200, format!("{n}.example.com")))),
            []
        );
        assert_ne!(
            findings((0..3_000).map(|n| (n * 1_176, format!("{n}.example.com")))),
            []
        );
    }

    #[test]
    fn thirty_subdomains_are_no_tunnel_and_31_are() {
        let names = |distinct: u64| {
            (0..500).map(move |n| (n * 10, format!("{}.example.com", n % distinct)))
        };
        assert_eq!(findings(names(30)), []);
        assert_eq!(findings(names(31)).len(), 1);
    }

    #[test]
    fn a_name_of_80_bytes_is_not_long_and_one_of_81_is() {
        let name = |bytes: usize| format!("{}.example.com", "a".repeat(bytes - 12));
        assert_eq!(findings([(0, name(80)), (1, name(80) + ".")]), []);
        let found = findings([(0, name(81)), (1, name(81)), (2, name(200))]);
        assert_eq!(found.len(), 1, "one finding a domain");
        assert_eq!(found[0].1.severity, AlertSeverity::Warning);
        assert_eq!(
            found[0].1.message,
            "DNS name of 81 bytes under example.com by iodine (pid 7)"
        );
    }

    #[test]
    fn a_long_name_does_not_hide_that_there_are_many() {
        let found = findings((0..100u64).map(|n| (n, format!("{n:090}.example.com"))));
        let severities: Vec<_> = found.iter().map(|(_, finding)| finding.severity).collect();
        assert_eq!(
            severities,
            [AlertSeverity::Warning, AlertSeverity::Critical]
        );
    }

    #[test]
    fn a_tunnel_is_told_from_its_neighbours_under_one_public_suffix() {
        // Each of 200 British companies is asked for once: no parent in common.
        assert_eq!(
            findings((0..200).map(|n| (n, format!("www.company{n}.co.uk")))),
            []
        );
    }

    #[test]
    fn a_browser_that_opens_pages_is_no_tunnel() {
        // 40 pages in a minute: each asks for 25 names of 12 domains, A and AAAA.
        let queries = (0..2_000u64).map(|n| {
            (
                n * 30,
                format!(
                    "cdn{}.site{}.example{}.com",
                    n % 5,
                    n % 2,
                    n / 50 * 12 + n % 12
                ),
            )
        });
        assert_eq!(findings(queries), []);
    }

    #[test]
    fn a_package_upgrade_is_no_tunnel() {
        let queries = (0..600u64).map(|n| {
            (
                n * 50,
                [
                    "deb.debian.org",
                    "security.debian.org",
                    "_http._tcp.deb.debian.org",
                ][n as usize % 3]
                    .to_owned(),
            )
        });
        assert_eq!(findings(queries), []);
    }

    #[test]
    fn a_health_check_that_asks_every_10_seconds_is_no_tunnel() {
        assert_eq!(
            findings((0..360).map(|n| (n * 10_000, "api.internal.example.com".to_owned()))),
            []
        );
    }

    #[test]
    fn a_flood_of_domains_take_bounded_memory_and_are_counted() {
        let mut detector = DnsTunnel::new();
        let now = Instant::now();
        for number in 0..100_000u32 {
            let name = format!("x.d{number}.com");
            detector.observe(
                now,
                &query(&name),
                &name,
                domain::parent(&name),
                DnsTunnelThreshold::default(),
            );
        }
        assert_eq!(detector.parents.len(), PARENTS);
        assert_eq!(detector.evicted(), 100_000 - PARENTS as u64);
        detector.prune(now + Duration::from_secs(61), Duration::from_secs(60));
        assert_eq!(detector.parents.len(), 0);
    }

    proptest! {
        #[test]
        fn any_names_are_survived(names in prop::collection::vec("\\PC{0,300}", 0..60)) {
            let names = names.into_iter().enumerate().map(|(at, name)| (at as u64, domain::fold(&name)));
            for (_, finding) in findings(names) {
                prop_assert!(!finding.message.chars().any(char::is_control));
            }
        }
    }
}
