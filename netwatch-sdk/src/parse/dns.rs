//! A UDP DNS message: header and first question.
//!
//! The records behind the question are not read, so a message of which only
//! the first bytes were captured tells as much as a whole one.

use std::{error, fmt};

use domain::base::{
    Message,
    iana::{Rcode, Rtype},
};

/// What a DNS message says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsMessage {
    pub(crate) id: u16,
    pub(crate) is_response: bool,
    /// 0 is a lookup.
    pub(crate) opcode: u8,
    /// Of the header, without the extension an OPT record can hold.
    pub(crate) rcode: u8,
    /// The first; `None` when there is none.
    pub(crate) question: Option<Question>,
    /// As many answer records as the header says follow.
    pub(crate) answers: u16,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Without a trailing dot, case as sent, odd bytes escaped as `\DDD`; empty for the root.
    pub(crate) name: String,
    /// The number of the record type.
    pub(crate) record_type: u16,
}

/// Not a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Shorter than a header.
    Header,
    /// The question breaks off or is none.
    Question,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "dns header breaks off",
            Self::Question => "dns question is malformed",
        })
    }
}

impl error::Error for Malformed {}

/// Reads a message from a UDP payload or its first bytes.
///
/// # Errors
///
/// When the header or the first question cannot be read.
pub(crate) fn parse_dns(payload: &[u8]) -> Result<DnsMessage, Malformed> {
    let message = Message::from_octets(payload).map_err(|_| Malformed::Header)?;
    let header = message.header();
    let question = message
        .question()
        .next()
        .transpose()
        .map_err(|_| Malformed::Question)?
        .map(|question| Question {
            name: question.qname().to_string(),
            record_type: question.qtype().to_int(),
        });
    Ok(DnsMessage {
        id: header.id(),
        is_response: header.qr(),
        opcode: header.opcode().to_int(),
        rcode: header.rcode().to_int(),
        question,
        answers: message.header_counts().ancount(),
    })
}

/// `A`, `HTTPS`; `TYPE1234` where there is no name.
pub(crate) fn record_type_name(number: u16) -> String {
    Rtype::from_int(number).to_string()
}

/// `NOERROR`, `NXDOMAIN`; the number where there is no name.
pub(crate) fn rcode_name(number: u8) -> String {
    Rcode::masked_from_int(number).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `dig www.example.com`, as sent: id 0x1234, recursion desired, one question of type A, class IN.
    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01";
    /// An answer to it: the question, then a compressed name (0xc00c points at it), type A, TTL 60, 192.0.2.1.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";

    fn header(flags: [u8; 2], questions: u8) -> Vec<u8> {
        vec![0, 7, flags[0], flags[1], 0, questions, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn numbers_have_the_names_that_tools_print() {
        for (number, name) in [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (12345, "TYPE12345")] {
            assert_eq!(record_type_name(number), name);
        }
        for (number, name) in [(0, "NOERROR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (15, "15")] {
            assert_eq!(rcode_name(number), name);
        }
    }

    #[test]
    fn a_query_tells_what_is_asked() {
        assert_eq!(
            parse_dns(QUERY).unwrap(),
            DnsMessage {
                id: 0x1234,
                is_response: false,
                opcode: 0,
                rcode: 0,
                question: Some(Question {
                    name: "www.example.com".into(),
                    record_type: 1
                }),
                answers: 0,
            }
        );
    }

    #[test]
    fn an_answer_tells_what_was_asked_and_its_code() {
        let answer = parse_dns(ANSWER).unwrap();
        assert!(answer.is_response);
        assert_eq!((answer.rcode, answer.answers), (0, 1));
        assert_eq!(answer.question, parse_dns(QUERY).unwrap().question);
        let mut nxdomain = QUERY.to_vec();
        nxdomain[2] = 0x81;
        nxdomain[3] = 0x83;
        assert_eq!(parse_dns(&nxdomain).unwrap().rcode, 3);
    }

    #[test]
    fn the_question_is_enough() {
        for end in QUERY.len()..=ANSWER.len() {
            assert!(parse_dns(&ANSWER[..end]).is_ok(), "{end} bytes");
        }
        for end in 12..QUERY.len() {
            assert_eq!(
                parse_dns(&ANSWER[..end]),
                Err(Malformed::Question),
                "{end} bytes"
            );
        }
        for end in 0..12 {
            assert_eq!(
                parse_dns(&ANSWER[..end]),
                Err(Malformed::Header),
                "{end} bytes"
            );
        }
    }

    #[test]
    fn a_message_without_a_question_is_one() {
        let refused = parse_dns(&header([0x80, 5], 0)).unwrap();
        assert_eq!((refused.question, refused.rcode), (None, 5));
    }

    #[test]
    fn names_that_point_at_themselves_or_in_circles_are_malformed() {
        for name in [
            &b"\xc0\x0c"[..],         // at itself
            &b"\x01a\xc0\x0c"[..],    // at its own start
            &b"\xc0\x0e\xc0\x0c"[..], // at one that points back
            &b"\xff\xff"[..],         // past the end
            &b"\xc0\x20"[..],         // past the end, nearer
            &b"\x80a"[..],            // a label type that does not exist
        ] {
            let mut message = header([1, 0], 1);
            message.extend_from_slice(name);
            message.extend_from_slice(&[0, 1, 0, 1]);
            assert_eq!(parse_dns(&message), Err(Malformed::Question), "{name:x?}");
        }
    }

    #[test]
    fn a_name_of_more_than_255_bytes_is_malformed() {
        let message = |labels: usize| {
            let mut message = header([1, 0], 1);
            for _ in 0..labels {
                message.push(62);
                message.extend_from_slice(&[b'a'; 62]);
            }
            message.extend_from_slice(&[0, 0, 1, 0, 1]);
            message
        };
        assert_eq!(
            parse_dns(&message(4)).unwrap().question.unwrap().name.len(),
            251
        );
        assert_eq!(parse_dns(&message(5)), Err(Malformed::Question));
    }

    #[test]
    fn odd_names_are_escaped_and_the_root_is_empty() {
        let question = |name: &[u8]| {
            let mut message = header([1, 0], 1);
            message.extend_from_slice(name);
            message.extend_from_slice(&[0xff, 0x34, 0, 1]);
            parse_dns(&message).unwrap().question.unwrap()
        };
        assert_eq!(question(b"\x04a.b\n\x04TeSt\x00").name, r"a\.b\010.TeSt");
        assert_eq!(question(b"\x00").name, "");
        assert_eq!(question(b"\x00").record_type, 0xff34, "a type nobody knows");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(payload in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_dns(&payload);
        }

        #[test]
        fn any_bytes_after_a_header_give_a_name_that_fits(body in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut message = header([1, 0], 1);
            message.extend_from_slice(&body);
            if let Ok(message) = parse_dns(&message) {
                let name = message.question.unwrap().name;
                prop_assert!(name.len() <= 255 * 4);
                prop_assert!(name.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            }
        }

        #[test]
        fn a_real_message_with_bytes_changed_is_survived(
            changes in prop::collection::vec((0..ANSWER.len(), any::<u8>()), 0..8),
            end in 0..=ANSWER.len(),
        ) {
            let mut message = ANSWER.to_vec();
            for (at, byte) in changes {
                message[at] = byte;
            }
            let _ = parse_dns(&message[..end]);
        }

        #[test]
        fn labels_and_dots_come_back_as_sent(labels in prop::collection::vec("[a-zA-Z0-9_-]{1,30}", 1..8)) {
            let mut message = header([1, 0], 1);
            for label in &labels {
                message.push(label.len() as u8);
                message.extend_from_slice(label.as_bytes());
            }
            message.extend_from_slice(&[0, 0, 28, 0, 1]);
            let question = parse_dns(&message).unwrap().question.unwrap();
            prop_assert_eq!(question, Question { name: labels.join("."), record_type: 28 });
        }
    }
}
