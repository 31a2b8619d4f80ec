//! DNS messages, made and read by the `domain` crate.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use domain::{
    base::{
        Message, MessageBuilder, Name,
        iana::{Rcode, Rtype},
    },
    rdata::A,
};

/// A question for an address.
pub(super) fn query(id: u16, name: &str) -> Result<Vec<u8>> {
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_id(id);
    question.header_mut().set_rd(true);
    question.push((name.parse::<Name<Vec<u8>>>()?, Rtype::A))?;
    Ok(question.finish())
}

/// The name a message asks for, and its id.
pub(super) fn asked(message: &[u8]) -> Result<(u16, String)> {
    let message = Message::from_octets(message).map_err(|_| anyhow::anyhow!("no header"))?;
    let question = message.question().next().context("no question")??;
    Ok((message.header().id(), question.qname().to_string()))
}

/// The answer to a query: an address, or the code that its name asks for.
pub(super) fn answer(query: &[u8]) -> Result<Vec<u8>> {
    let (_, name) = asked(query)?;
    let query = Message::from_octets(query).map_err(|_| anyhow::anyhow!("no header"))?;
    let rcode = if name.starts_with("nx-") {
        Rcode::NXDOMAIN
    } else if name.starts_with("fail-") {
        Rcode::SERVFAIL
    } else {
        Rcode::NOERROR
    };
    let mut answer = MessageBuilder::new_vec().start_answer(&query, rcode)?;
    if rcode == Rcode::NOERROR {
        let address = A::new(Ipv4Addr::new(192, 0, 2, 1));
        answer.push((name.parse::<Name<Vec<u8>>>()?, 60, address))?;
    }
    Ok(answer.finish())
}
