//! Messages of DNS clients.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};

use crate::reading::{Attribution, SocketId};

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DnsMessageKind {
    /// The client sent it.
    Query,
    /// The client got it.
    Answer,
}

impl DnsMessageKind {
    /// Both with the name they have in JSON.
    pub const ALL: &[(&'static str, Self)] =
        &[("dns_query", Self::Query), ("dns_answer", Self::Answer)];

    /// The name it has in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "dns_query",
            Self::Answer => "dns_answer",
        }
    }
}

/// A UDP message between a DNS client on this host and port 53 of a server, at the client.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsEvent {
    /// Which way it went.
    pub kind: DnsMessageKind,
    /// When, to the clock's precision.
    pub time: DateTime<Utc>,
    /// The client's socket.
    pub id: SocketId,
    /// The client's address.
    pub local: SocketAddr,
    /// The server's; as the client addressed it, where the address is translated.
    pub remote: SocketAddr,
    /// Whose the socket is.
    pub process: Attribution,
    /// Its name; `[kernel]` and `[unknown]` for none.
    pub process_name: String,
    /// When it started; `None` for none.
    pub process_started_at: Option<DateTime<Utc>>,
    /// That process answers DNS on this host as well: it may ask because it was asked.
    pub forwards: bool,
    /// The message's id; `None` when it is no DNS message.
    pub transaction: Option<u16>,
    /// The name of the first question, without a trailing dot and as it was written; empty
    /// for the root, `None` when there is no question.
    pub name: Option<String>,
    /// The number of its record type.
    pub record_type: Option<u16>,
    /// What is asked for, by number: 0 for a lookup.
    pub opcode: Option<u8>,
    /// The code of an answer, by number: 0 for no error, 3 for NXDOMAIN.
    pub rcode: Option<u8>,
    /// Time since the same socket first asked this; `None` for a query, and when that was
    /// not seen or is 5 s ago or longer.
    pub latency: Option<Duration>,
}
