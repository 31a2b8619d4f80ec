use proptest::prelude::*;

use super::*;
use crate::detect::{Actor, ClientSocket};

fn query(txid: u16, name: &str) -> DnsQuery<'_> {
    DnsQuery {
        txid,
        client: Host::from_text("10.0.0.9"),
        client_port: Some(40_000),
        server: Host::from_text("10.0.0.1"),
        name,
        record_type: Some(1),
        actor: None,
        socket: None,
    }
}

fn response(txid: u16, rcode: u8) -> DnsResponse<'static> {
    DnsResponse {
        txid,
        client: Host::from_text("10.0.0.9"),
        client_port: Some(40_000),
        server: Host::from_text("10.0.0.1"),
        rcode,
        name: None,
        record_type: None,
        actor: None,
        socket: None,
    }
}

fn ask(dns: &mut Dns, now: Instant, event: &DnsQuery<'_>) -> bool {
    let name = domain::fold(event.name);
    dns.query(now, event, &name, domain::parent(&name)) == Counts::Once
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn each_latency_falls_into_its_bucket() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    let micros = [
        0, 4_999, 5_000, 9_999, 10_000, 24_999, 25_000, 49_999, 50_000, 99_999, 100_000, 249_999,
        250_000, 499_999, 500_000, 4_999_999,
    ];
    for (txid, latency) in (0..).zip(micros) {
        ask(&mut dns, start, &query(txid, "a.test"));
        dns.response(start + Duration::from_micros(latency), &response(txid, 0));
    }
    assert_eq!(dns.statistics.latency_buckets, [2; 8]);
    assert_eq!(dns.statistics.unmatched, 0);
}

#[test]
fn an_answer_after_5_seconds_comes_too_late() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    ask(&mut dns, start, &query(1, "a.test"));
    dns.response(start + EXPIRY, &response(1, 0));
    assert_eq!(dns.statistics.latency_buckets, [0; 8]);
    assert_eq!(
        (dns.statistics.unanswered, dns.statistics.unmatched),
        (1, 1)
    );
}

#[test]
fn a_response_matches_its_own_query_only() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    ask(&mut dns, start, &query(1, "A.test"));
    let right = DnsResponse {
        name: Some("a.TEST."),
        record_type: Some(1),
        ..response(1, 0)
    };
    for wrong in [
        response(2, 0),
        DnsResponse {
            client: Host::from_text("10.0.0.8"),
            ..right.clone()
        },
        DnsResponse {
            client_port: Some(1),
            ..right.clone()
        },
        DnsResponse {
            server: Host::from_text("10.0.0.2"),
            ..right.clone()
        },
        DnsResponse {
            name: Some("b.test"),
            ..right.clone()
        },
        DnsResponse {
            record_type: Some(28),
            ..right.clone()
        },
    ] {
        dns.response(start, &wrong);
        assert_eq!(dns.statistics.latency_buckets, [0; 8], "{wrong:?}");
    }
    dns.response(start, &right);
    assert_eq!(dns.statistics.latency_buckets[0], 1);
    assert_eq!((dns.statistics.responses, dns.statistics.unmatched), (7, 6));
}

#[test]
fn a_message_seen_twice_on_loopback_counts_once() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    assert!(ask(&mut dns, start, &query(1, "a.test")));
    assert!(!ask(&mut dns, start + ms(1), &query(1, "a.test")));
    dns.response(start + ms(7), &response(1, 3));
    dns.response(start + ms(8), &response(1, 3));
    let statistics = &dns.statistics;
    assert_eq!(
        (
            statistics.queries,
            statistics.responses,
            statistics.repeated
        ),
        (1, 1, 2)
    );
    assert_eq!(statistics.latency_buckets[1], 1);
    assert_eq!(dns.analytics().nxdomain_count, 1);
    assert_eq!(dns.analytics().top_domains, [("a.test".to_owned(), 1)]);
}

#[test]
fn a_query_sent_again_counts_once_and_from_the_first_time() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    ask(&mut dns, start, &query(1, "a.test"));
    ask(&mut dns, start + ms(1_000), &query(1, "a.test"));
    dns.response(start + ms(1_003), &response(1, 0));
    assert_eq!(dns.statistics.queries, 1);
    assert_eq!(dns.statistics.latency_buckets, [0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(dns.statistics.unanswered, 0);
}

/// A query by a process, over a socket of its own.
fn by(pid: u32, forwards: bool, txid: u16, name: &str) -> DnsQuery<'_> {
    DnsQuery {
        actor: Some(Actor {
            pid: Pid(pid),
            name: "p",
        }),
        socket: Some(ClientSocket {
            id: SocketId(pid.into()),
            forwards,
        }),
        ..query(txid, name)
    }
}

fn to(query: &DnsQuery<'_>) -> DnsResponse<'static> {
    DnsResponse {
        socket: query.socket,
        ..response(query.txid, 0)
    }
}

#[test]
fn what_a_forwarder_asks_for_another_process_is_counted_once() {
    let now = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    let stub = by(1, false, 1, "a.test");
    let (passed_on, own) = (by(2, true, 2, "A.test"), by(2, true, 3, "b.test"));
    assert!(ask(&mut dns, now, &stub));
    assert!(!ask(&mut dns, now, &passed_on), "the stub waits for it");
    assert!(ask(&mut dns, now, &own), "nobody else asked");
    assert!(
        ask(&mut dns, now, &by(3, false, 4, "a.test")),
        "no forwarder"
    );
    assert_eq!(dns.response(now, &to(&passed_on)), Counts::Forwarded);
    assert_eq!(dns.response(now, &to(&stub)), Counts::Once);
    assert_eq!(dns.response(now, &to(&own)), Counts::Once);
    let third = to(&by(3, false, 4, "a.test"));
    assert_eq!(dns.response(now, &third), Counts::Once);
    assert!(
        ask(&mut dns, now, &by(2, true, 5, "a.test")),
        "nobody waits"
    );
    let counted = &dns.statistics;
    assert_eq!((counted.queries, counted.responses), (4, 3));
    assert_eq!(
        (counted.forwarded_queries, counted.forwarded_responses),
        (1, 1)
    );
    assert_eq!(counted.latency_buckets[0], 3);
    dns.expire(now + EXPIRY);
    assert_eq!(dns.statistics.unanswered, 1);
    assert!(dns.open.is_empty());
}

#[test]
fn what_is_asked_on_loopback_first_and_elsewhere_then_is_counted_once() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    let on_loopback = |query: DnsQuery<'static>| DnsQuery {
        server: Host::from_text("127.0.0.11"),
        ..query
    };
    let client = on_loopback(by(1, false, 1, "a.test"));
    assert!(ask(&mut dns, start, &client));
    assert!(
        ask(&mut dns, start, &on_loopback(by(2, false, 7, "a.test"))),
        "a client too"
    );
    let upstream = by(3, false, 2, "a.test");
    assert!(!ask(&mut dns, start, &upstream));
    assert!(
        ask(&mut dns, start, &by(3, false, 3, "b.test")),
        "of its own"
    );
    dns.response(start, &to(&upstream));
    let answer = to(&client);
    dns.response(
        start,
        &DnsResponse {
            server: client.server,
            ..answer
        },
    );
    let counted = &dns.statistics;
    assert_eq!((counted.queries, counted.forwarded_queries), (3, 1));
    assert_eq!((counted.responses, counted.forwarded_responses), (1, 1));
    dns.expire(start + EXPIRY);
    assert!(dns.open.is_empty());
}

#[test]
fn a_forwarded_query_that_is_not_answered_is_not_one_of_the_clients() {
    let now = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    assert!(ask(&mut dns, now, &by(1, false, 1, "a.test")));
    assert!(!ask(&mut dns, now, &by(2, true, 2, "a.test")));
    dns.expire(now + EXPIRY);
    assert_eq!(dns.statistics.unanswered, 1);
    assert!(dns.open.is_empty());
}

#[test]
fn an_answer_must_arrive_at_the_socket_that_asked() {
    let now = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    let asked = by(1, false, 1, "a.test");
    assert!(ask(&mut dns, now, &asked));
    dns.response(now, &to(&by(2, false, 1, "a.test")));
    assert_eq!(dns.statistics.unmatched, 1);
    // Its address may be another than that of the query, behind a translation.
    let translated = DnsResponse {
        client: Host::from_text("172.17.0.2"),
        client_port: Some(9),
        ..to(&asked)
    };
    dns.response(now, &translated);
    assert_eq!(dns.statistics.latency_buckets[0], 1);
}

#[test]
fn an_id_used_again_is_a_new_query() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    assert!(ask(&mut dns, start, &query(1, "a.test")));
    assert!(ask(&mut dns, start, &query(1, "b.test")), "another name");
    assert!(
        ask(
            &mut dns,
            start,
            &DnsQuery {
                record_type: Some(28),
                ..query(1, "b.test")
            }
        ),
        "another type"
    );
    dns.response(start, &response(1, 0));
    assert!(ask(&mut dns, start, &query(1, "b.test")), "after an answer");
    dns.expire(start + EXPIRY);
    assert_eq!((dns.statistics.queries, dns.statistics.unanswered), (4, 3));
}

#[test]
fn every_code_is_counted() {
    let mut dns = Dns::new(Repeats::Apart);
    for rcode in 0..16 {
        for _ in 0..=rcode {
            dns.response(Instant::now(), &response(rcode.into(), rcode));
        }
    }
    dns.response(Instant::now(), &response(1, 255));
    for (rcode, count) in (0u64..).zip(dns.statistics.rcodes) {
        assert_eq!(count, rcode + 1);
    }
    assert_eq!(dns.statistics.responses, 137);
}

#[test]
fn a_flood_of_open_queries_take_bounded_memory_and_are_counted() {
    let start = Instant::now();
    let mut dns = Dns::new(Repeats::Apart);
    for number in 0..100_000u32 {
        let event = DnsQuery {
            client: std::net::IpAddr::from(number.to_be_bytes()).into(),
            ..query(number as u16, "a.test")
        };
        ask(&mut dns, start, &event);
    }
    assert_eq!(dns.transactions.len(), TRANSACTIONS);
    assert_eq!(dns.statistics.forgotten, 100_000 - TRANSACTIONS as u64);
    dns.expire(start + EXPIRY);
    assert_eq!(dns.transactions.len(), 0);
    assert_eq!(dns.statistics.unanswered, TRANSACTIONS as u64);
}

proptest! {
    #[test]
    fn every_query_is_answered_unanswered_or_forgotten(
        steps in prop::collection::vec((0u64..3_000, 0u16..6, any::<bool>(), 0u8..3), 0..300),
    ) {
        let mut now = Instant::now();
        let mut dns = Dns::new(Repeats::Apart);
        for (wait, txid, asks, name) in steps {
            now += ms(wait);
            if asks {
                ask(&mut dns, now, &query(txid, ["a.test", "b.test", "A.TEST"][usize::from(name)]));
            } else {
                dns.response(now, &response(txid, name));
            }
        }
        dns.expire(now + EXPIRY);
        let statistics = &dns.statistics;
        let answered: u64 = statistics.latency_buckets.iter().sum();
        prop_assert_eq!(statistics.queries, answered + statistics.unanswered + statistics.forgotten);
        prop_assert_eq!(statistics.responses, answered + statistics.unmatched);
        prop_assert_eq!(statistics.responses, statistics.rcodes.iter().sum::<u64>());
    }
}
