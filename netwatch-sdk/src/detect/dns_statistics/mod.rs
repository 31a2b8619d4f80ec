//! What was asked of DNS servers, how they answered, and how fast.
//!
//! A query and its response are matched by transaction id, client (with its
//! port where known) and server; where the response repeats the question, by
//! that too. An answer within 5 s counts into its latency bucket; a query
//! without one by then is unanswered.
//!
//! A process that answers DNS itself (`systemd-resolved`, `dnsmasq`) asks upstream
//! for what it was asked. While another process's query for the same question is
//! open, its own is *forwarded*: counted apart, and not once more. What it asks
//! otherwise, for itself or for other hosts, is a query like any other. A forwarder behind
//! an address translation (Docker's 127.0.0.11) is not seen to answer on port 53; there
//! the open query to a loopback address tells that the one to another address is forwarded.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    time::{Duration, Instant},
};

use hashlink::LinkedHashMap;
use serde::Serialize;

use super::{
    domain,
    event::{DnsQuery, DnsResponse, Host},
    open_questions::{OpenQuestions, Question, Where},
    top_names::TopNames,
};
use crate::{
    reading::{Pid, SocketId},
    wire::DnsAnalytics,
};

/// How long an answer may take.
const EXPIRY: Duration = Duration::from_secs(5);
/// Upper ends of all latency buckets but the last.
const BUCKETS_MS: [u64; 7] = [5, 10, 25, 50, 100, 250, 500];
/// Transactions followed at once, about 150 bytes each: 2.5 MB at most, 3,200 queries a second.
pub(crate) const TRANSACTIONS: usize = 16_384;
/// Domains reported.
const TOP: usize = 20;
const NXDOMAIN: u8 = 3;

/// What to do with a message that was seen already.
///
/// The same message (id, client, server, question) may be seen twice: on
/// loopback as it leaves and as it arrives, and when a client asks again
/// because no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Count it apart, and once.
    Apart,
    /// Count it as one more, as callers of the published sinks expect.
    AsMore,
}

/// How a message counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// As a query or a response.
    Once,
    /// As one that another process's query is the reason for.
    Forwarded,
    /// It was seen before.
    Not,
}

/// DNS figures since the detectors started. Every figure only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DnsStatistics {
    /// Queries, each once however often its message was seen.
    pub queries: u64,
    /// Responses, each once however often its message was seen.
    pub responses: u64,
    /// Messages that repeat a query still open, or a response given within the last 5 s.
    pub repeated: u64,
    /// Queries that a process of this host passed on for another one, whose own query
    /// is in `queries`.
    pub forwarded_queries: u64,
    /// Responses to them.
    pub forwarded_responses: u64,
    /// Responses by the code in the header: 0 no error, 2 server failure, 3 NXDOMAIN, 5 refused, …
    pub rcodes: [u64; 16],
    /// Answered queries by latency: <5, <10, <25, <50, <100, <250, <500, ≥500 ms.
    /// A query that was sent again counts from the first time.
    pub latency_buckets: [u64; 8],
    /// Responses to no query that was seen within the 5 s before.
    pub unmatched: u64,
    /// Queries without a response within 5 s.
    pub unanswered: u64,
    /// TCP connections that this host tried to open to port 53, whose messages are not read.
    pub tcp_connections: u64,
    /// Messages that are no DNS.
    pub malformed: u64,
    /// Messages that ask nothing or something else than a lookup (updates, notifications).
    pub other: u64,
    /// Open queries forgotten to make room: their answers count as unmatched.
    pub forgotten: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Transaction {
    txid: u16,
    client: Client,
    server: Host,
}

/// Who asked. A socket is the same even where its address is translated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    Socket(SocketId),
    Address(Host, Option<u16>),
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    question: Question,
    asker: Option<Pid>,
    server: Where,
    forwarded: bool,
    answered: bool,
}

impl Asked {
    /// Waits for an answer, and counts as a query.
    const fn is_open(&self) -> bool {
        !self.answered && !self.forwarded
    }
}

fn place(server: &Host) -> Where {
    match server {
        Host::Address(address) if address.is_loopback() => Where::Loopback,
        _ => Where::Anywhere,
    }
}

#[derive(Debug)]
pub(crate) struct Dns {
    /// Asked longest ago first.
    transactions: LinkedHashMap<Transaction, Asked, RandomState>,
    open: OpenQuestions,
    hasher: RandomState,
    domains: TopNames,
    repeats: Repeats,
    pub(crate) statistics: DnsStatistics,
}

impl Dns {
    pub(crate) fn new(repeats: Repeats) -> Self {
        Self {
            transactions: LinkedHashMap::with_hasher(RandomState::new()),
            open: OpenQuestions::default(),
            hasher: RandomState::new(),
            domains: TopNames::default(),
            repeats,
            statistics: DnsStatistics::default(),
        }
    }

    /// `name` is the query's, folded, and `domain` its parent.
    pub(crate) fn query(
        &mut self,
        now: Instant,
        event: &DnsQuery<'_>,
        name: &str,
        domain: &str,
    ) -> Counts {
        self.expire(now);
        let client = match event.socket {
            Some(socket) => Client::Socket(socket.id),
            None => Client::Address(event.client.clone(), event.client_port),
        };
        let transaction = Transaction {
            txid: event.txid,
            client,
            server: event.server.clone(),
        };
        let question = (self.hasher.hash_one(name), event.record_type);
        let before = self.transactions.get(&transaction).copied();
        if before.is_some_and(|before| !before.answered && before.question == question) {
            self.statistics.repeated += 1;
            if self.repeats == Repeats::Apart {
                return Counts::Not;
            }
        } else {
            let asker = event.actor.map(|actor| actor.pid);
            let server = place(&event.server);
            let forwarded = event.socket.is_some_and(|socket| {
                let reason = match (socket.forwards, server) {
                    (true, _) => Where::Anywhere,
                    (false, Where::Anywhere) => Where::Loopback,
                    (false, Where::Loopback) => return false,
                };
                self.open.is_open_elsewhere(question, asker, reason)
            });
            let asked = Asked {
                at: now,
                question,
                asker,
                server,
                forwarded,
                answered: false,
            };
            self.remember(transaction, asked);
            if forwarded {
                self.statistics.forwarded_queries += 1;
                return Counts::Forwarded;
            }
        }
        self.statistics.queries += 1;
        self.domains.add(domain);
        Counts::Once
    }

    pub(crate) fn response(&mut self, now: Instant, event: &DnsResponse<'_>) -> Counts {
        self.expire(now);
        let name = event
            .name
            .map(|name| self.hasher.hash_one(domain::fold(name)));
        let client = match event.socket {
            Some(socket) => Client::Socket(socket.id),
            None => Client::Address(event.client.clone(), event.client_port),
        };
        let asked = self
            .transactions
            .get_mut(&Transaction {
                txid: event.txid,
                client,
                server: event.server.clone(),
            })
            .filter(|asked| {
                let (asked_name, asked_type) = asked.question;
                name.is_none_or(|name| name == asked_name)
                    && (event.record_type.is_none()
                        || asked_type.is_none()
                        || event.record_type == asked_type)
            });
        match asked {
            Some(asked) if asked.answered => {
                self.statistics.repeated += 1;
                if self.repeats == Repeats::Apart {
                    return Counts::Not;
                }
            }
            Some(asked) => {
                if asked.is_open() {
                    self.open.remove(asked.question, asked.asker, asked.server);
                }
                asked.answered = true;
                if asked.forwarded {
                    self.statistics.forwarded_responses += 1;
                    return Counts::Forwarded;
                }
                let latency = now.saturating_duration_since(asked.at);
                let at = BUCKETS_MS.partition_point(|end| latency >= Duration::from_millis(*end));
                if let Some(bucket) = self.statistics.latency_buckets.get_mut(at) {
                    *bucket += 1;
                }
            }
            None => self.statistics.unmatched += 1,
        }
        self.statistics.responses += 1;
        if let Some(count) = self.statistics.rcodes.get_mut(usize::from(event.rcode)) {
            *count += 1;
        }
        Counts::Once
    }

    /// Forgets what was asked 5 s ago or longer.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, asked)) = self.transactions.front()
            && now.saturating_duration_since(asked.at) >= EXPIRY
        {
            if asked.is_open() {
                self.statistics.unanswered += 1;
                self.open.remove(asked.question, asked.asker, asked.server);
            }
            self.transactions.pop_front();
        }
    }

    fn remember(&mut self, transaction: Transaction, asked: Asked) {
        if self.transactions.len() >= TRANSACTIONS
            && !self.transactions.contains_key(&transaction)
            && let Some((_, oldest)) = self.transactions.pop_front()
            && oldest.is_open()
        {
            self.statistics.forgotten += 1;
            self.open
                .remove(oldest.question, oldest.asker, oldest.server);
        }
        if asked.is_open() {
            self.open.add(asked.question, asked.asker, asked.server);
        }
        // An insertion moves to the back, which keeps the map in order of time.
        if let Some(replaced) = self.transactions.insert(transaction, asked)
            && replaced.is_open()
        {
            self.statistics.unanswered += 1;
            self.open
                .remove(replaced.question, replaced.asker, replaced.server);
        }
    }

    /// The figures of the wire contract.
    pub(crate) fn analytics(&self) -> DnsAnalytics {
        let statistics = &self.statistics;
        DnsAnalytics {
            total_queries: statistics.queries,
            total_responses: statistics.responses,
            nxdomain_count: statistics
                .rcodes
                .get(usize::from(NXDOMAIN))
                .copied()
                .unwrap_or(0),
            latency_buckets: statistics.latency_buckets,
            top_domains: self.domains.top(TOP),
        }
    }

    /// Domains whose counter went to another.
    pub(crate) const fn domains_replaced(&self) -> u64 {
        self.domains.replaced()
    }
}

#[cfg(test)]
mod tests;
