//! DNS messages, read and given to the figures and the tunnel detector.

use super::{
    super::{
        allow::Facts,
        dns_statistics::Counts,
        domain,
        event::{DnsMessage, DnsQuery, DnsResponse, Moment},
        finding::Signal,
    },
    Detectors,
};
use crate::parse::dns::{Question, parse_dns};

/// The port DNS servers answer on.
const DNS_PORT: u16 = 53;

impl Detectors {
    pub(super) fn dns_query(&mut self, now: Moment, event: &DnsQuery<'_>) {
        let name = domain::fold(event.name);
        let domain = domain::parent(&name);
        match self.dns.query(now.monotonic, event, &name, domain) {
            Counts::Once => self.dns_askers.query(event.actor),
            Counts::Forwarded => {
                self.dns_askers.forwarded(event.actor);
                return;
            }
            Counts::Not => return,
        }
        let facts = Facts {
            actor: event.actor,
            source: Some(&event.client),
            destination: Some(&event.server),
            name: Some(&name),
            ..Facts::default()
        };
        let found = self
            .shown(Signal::DnsTunnel, &facts, self.thresholds.dns_tunnel)
            .and_then(|threshold| {
                self.dns_tunnel
                    .observe(now.monotonic, event, &name, domain, threshold)
            });
        self.raise(now, found);
    }

    pub(super) fn dns_response(&mut self, now: Moment, event: &DnsResponse<'_>) {
        if self.dns.response(now.monotonic, event) == Counts::Once {
            self.dns_askers.response(event.actor, event.rcode);
        }
    }

    /// The server is the end with port 53; of two such ends, the one that the
    /// message's own direction says.
    pub(super) fn dns_message(&mut self, now: Moment, event: &DnsMessage<'_>) {
        let Ok(message) = parse_dns(event.payload) else {
            self.dns.statistics.malformed += 1;
            return;
        };
        let expected = if message.is_response {
            event.source_port
        } else {
            event.destination_port
        };
        // A response need not repeat the question: one to a malformed query does not.
        let nothing_asked = message.question.is_none() && !message.is_response;
        if message.opcode != 0 || nothing_asked || expected != DNS_PORT {
            self.dns.statistics.other += 1;
            return;
        }
        if message.is_response {
            let question = message.question.as_ref();
            self.dns_response(
                now,
                &DnsResponse {
                    txid: message.id,
                    client: event.destination.clone(),
                    client_port: Some(event.destination_port),
                    server: event.source.clone(),
                    rcode: message.rcode,
                    name: question.map(|question| question.name.as_str()),
                    record_type: question.map(|question| question.record_type),
                    actor: event.actor,
                    socket: event.socket,
                },
            );
        } else if let Some(Question { name, record_type }) = &message.question {
            self.dns_query(
                now,
                &DnsQuery {
                    txid: message.id,
                    client: event.source.clone(),
                    client_port: Some(event.source_port),
                    server: event.destination.clone(),
                    name,
                    record_type: Some(*record_type),
                    actor: event.actor,
                    socket: event.socket,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::detect::{
        Thresholds,
        detectors::sample::{from_resolver, later, message, to_resolver},
    };

    #[test]
    fn a_lookup_through_a_loopback_resolver_is_one_query_of_the_process_that_asked() {
        let start = Moment::now();
        let mut detectors = Detectors::new(Thresholds::default());
        for n in 0..60u16 {
            let name = format!("{n:04x}.tunnel.test");
            let query = message(n, 0x0100, &name);
            let answer = message(n, 0x8183, &name);
            let at = |ms| later(start, Duration::from_millis(u64::from(n) * 20 + ms));
            // Each message is seen as it leaves one socket and as it reaches the other.
            detectors.observe(at(0), &to_resolver(&query));
            detectors.observe(at(0), &to_resolver(&query));
            detectors.observe(at(12), &from_resolver(&answer));
            detectors.observe(at(12), &from_resolver(&answer));
        }
        let dns = detectors.dns_analytics();
        assert_eq!(
            (dns.total_queries, dns.total_responses, dns.nxdomain_count),
            (60, 60, 60)
        );
        assert_eq!(dns.latency_buckets, [0, 0, 60, 0, 0, 0, 0, 0]);
        assert_eq!(dns.top_domains, [("tunnel.test".to_owned(), 60)]);
        let alerts = detectors.alerts(start.monotonic);
        assert_eq!(alerts.len(), 1);
        assert_eq!(
            alerts[0].message,
            "DNS tunnel suspected under tunnel.test by curl (pid 7)"
        );
    }

    #[test]
    fn what_is_no_lookup_is_counted_apart() {
        let now = Moment::now();
        let mut detectors = Detectors::new(Thresholds::default());
        detectors.observe(now, &to_resolver(b"no dns"));
        detectors.observe(now, &to_resolver(&message(1, 0x0100, "a.test")[..20]));
        detectors.observe(now, &to_resolver(&message(2, 0x2800, "a.test")));
        detectors.observe(now, &to_resolver(&[0; 12]));
        detectors.observe(now, &from_resolver(&message(3, 0x0100, "a.test")));
        let refused = [0, 4, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        detectors.observe(now, &from_resolver(&refused));
        let statistics = detectors.dns_statistics();
        assert_eq!((statistics.malformed, statistics.other), (2, 3));
        assert_eq!((statistics.queries, statistics.responses), (0, 1));
        assert_eq!(statistics.rcodes[5], 1);
    }

    #[test]
    fn reverse_lookups_are_no_tunnel_by_default() {
        let start = Moment::now();
        let name_a_log = |thresholds| {
            let mut detectors = Detectors::new(thresholds);
            for n in 0..200u16 {
                let query = message(n, 0x0100, &format!("{n}.2.0.192.in-addr.arpa"));
                detectors.observe(start, &to_resolver(&query));
            }
            detectors.alerts(start.monotonic).len()
        };
        assert_eq!(name_a_log(Thresholds::default()), 0);
        assert_eq!(
            name_a_log(Thresholds {
                allow: Vec::new(),
                ..Thresholds::default()
            }),
            1
        );
    }

    proptest! {
        #[test]
        fn any_dns_payload_is_survived_and_counted_once(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..40),
        ) {
            let now = Moment::now();
            let mut detectors = Detectors::new(Thresholds::default());
            let count = payloads.len() as u64;
            for (payload, answers) in payloads {
                let event = if answers { from_resolver(&payload) } else { to_resolver(&payload) };
                detectors.observe(now, &event);
            }
            let seen = detectors.dns_statistics();
            prop_assert_eq!(seen.queries + seen.responses + seen.repeated + seen.malformed + seen.other, count);
        }
    }
}
