//! DNS messages as events, each answer with the time since its question.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    time::{Duration, Instant},
};

use hashlink::LinkedHashMap;

use crate::{
    event::{DnsEvent, DnsMessageKind},
    parse::dns::parse_dns,
    reading::{Attribution, SocketId, dns::DnsDatagram},
};

/// How long an answer may take.
const EXPIRY: Duration = Duration::from_secs(5);
/// Questions that wait for an answer at once, about 100 bytes each: 1.6 MB at most.
const OPEN: usize = 16_384;

/// A message's id, at a client's socket, with a server.
type Transaction = (SocketId, SocketAddr, u16);

/// The questions that wait for an answer, asked longest ago first.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: LinkedHashMap<Transaction, (Instant, u64), RandomState>,
    hasher: RandomState,
}

impl Questions {
    /// What a message tells. One that cannot be read tells who sent it to whom.
    pub(super) fn event(&mut self, message: &DnsDatagram<'_>) -> DnsEvent {
        let read = parse_dns(message.message).ok();
        let kind = if message.sent {
            DnsMessageKind::Query
        } else {
            DnsMessageKind::Answer
        };
        let question = read.as_ref().and_then(|read| read.question.as_ref());
        let latency = read.as_ref().and_then(|read| {
            let asked = question.map(|question| (&question.name, question.record_type));
            let transaction = (message.socket, message.remote, read.id);
            self.latency(kind, message.at, transaction, asked)
        });
        DnsEvent {
            kind,
            time: message.time,
            id: message.socket,
            local: message.local,
            remote: message.remote,
            process: message.owner,
            process_name: match message.owner {
                Attribution::Process(_) => message.owner_name.to_owned(),
                Attribution::Kernel => "[kernel]".to_owned(),
                Attribution::Unknown | Attribution::Unattributed => "[unknown]".to_owned(),
            },
            process_started_at: message.owner_started,
            forwards: message.forwards,
            transaction: read.as_ref().map(|read| read.id),
            name: question.map(|question| question.name.clone()),
            record_type: question.map(|question| question.record_type),
            opcode: read.as_ref().map(|read| read.opcode),
            rcode: read.filter(|read| read.is_response).map(|read| read.rcode),
            latency,
        }
    }

    fn latency(
        &mut self,
        kind: DnsMessageKind,
        at: Instant,
        transaction: Transaction,
        asked: Option<(&String, u16)>,
    ) -> Option<Duration> {
        while let Some((_, (since, _))) = self.open.front()
            && at.saturating_duration_since(*since) >= EXPIRY
        {
            self.open.pop_front();
        }
        let hash = asked.map(|(name, record_type)| {
            let name = name.to_ascii_lowercase();
            self.hasher.hash_one((name, record_type))
        });
        if kind == DnsMessageKind::Query {
            let hash = hash?;
            // Asked again: the first time counts.
            if self
                .open
                .get(&transaction)
                .is_none_or(|(_, asked)| *asked != hash)
            {
                if self.open.len() >= OPEN {
                    self.open.pop_front();
                }
                self.open.insert(transaction, (at, hash));
            }
            return None;
        }
        let (since, asked) = *self.open.get(&transaction)?;
        if hash.is_some_and(|hash| hash != asked) {
            return None;
        }
        self.open.remove(&transaction);
        Some(at.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use proptest::prelude::*;

    use super::*;
    use crate::reading::{Pid, ProcessId};

    /// `dig www.example.com`, as sent.
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
    /// The same name does not exist, its case as some resolvers mix it.
    const NXDOMAIN: &[u8] =
        b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x03wWw\x07exaMple\x03com\0\0\x01\0\x01";

    fn message(at: Instant, sent: bool, message: &[u8]) -> DnsDatagram<'_> {
        DnsDatagram {
            at,
            time: Utc::now(),
            socket: SocketId(1),
            sent,
            local: "192.0.2.1:40000".parse().unwrap(),
            remote: "192.0.2.53:53".parse().unwrap(),
            owner: Attribution::Process(ProcessId {
                pid: Pid(7),
                started: None,
            }),
            owner_name: "dig",
            owner_started: None,
            forwards: false,
            message,
        }
    }

    #[test]
    fn an_answer_has_its_code_and_the_time_since_the_first_question() {
        let (start, mut questions) = (Instant::now(), Questions::default());
        let at = |ms| start + Duration::from_millis(ms);
        let query = questions.event(&message(at(0), true, QUERY));
        assert_eq!(query.kind, DnsMessageKind::Query);
        assert_eq!(query.name.as_deref(), Some("www.example.com"));
        assert_eq!(
            (query.record_type, query.rcode, query.latency),
            (Some(1), None, None)
        );
        questions.event(&message(at(20), true, QUERY));
        let answer = questions.event(&message(at(30), false, NXDOMAIN));
        assert_eq!(answer.kind, DnsMessageKind::Answer);
        assert_eq!(answer.rcode, Some(3));
        assert_eq!(answer.latency, Some(Duration::from_millis(30)));
        assert_eq!(answer.process_name, "dig");
        let again = questions.event(&message(at(31), false, NXDOMAIN));
        assert_eq!(again.latency, None, "it was answered");
    }

    #[test]
    fn an_answer_to_something_else_or_to_nothing_has_no_time() {
        let (start, mut questions) = (Instant::now(), Questions::default());
        questions.event(&message(start, true, QUERY));
        let mut other = NXDOMAIN.to_vec();
        other[13] = b'x';
        assert_eq!(
            questions.event(&message(start, false, &other)).latency,
            None
        );
        let mut elsewhere = message(start, false, NXDOMAIN);
        elsewhere.remote = "192.0.2.54:53".parse().unwrap();
        assert_eq!(questions.event(&elsewhere).latency, None);
        let late = message(start + EXPIRY, false, NXDOMAIN);
        assert_eq!(questions.event(&late).latency, None);
        assert!(questions.open.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_event_all_the_same() {
        let event = Questions::default().event(&message(Instant::now(), true, b"no dns"));
        assert_eq!(
            (event.transaction, event.name, event.opcode),
            (None, None, None)
        );
        assert_eq!(event.process_name, "dig");
    }

    #[test]
    fn questions_without_an_answer_have_a_limit() {
        let (start, mut questions) = (Instant::now(), Questions::default());
        for port in 0..=u16::MAX {
            let mut query = message(start, true, QUERY);
            query.local.set_port(port);
            query.socket = SocketId(port.into());
            questions.event(&query);
        }
        assert_eq!(questions.open.len(), OPEN);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_that_can_be_written(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            sent: bool,
        ) {
            let event = Questions::default().event(&message(Instant::now(), sent, &bytes));
            serde_json::to_string(&event).unwrap();
        }
    }
}
