//! The parsers as the targets in `fuzz/` call them. Built with `cfg(fuzzing)` only.
//!
//! A parser must not panic on any bytes, nor read more rows than there are lines; of
//! DNS messages each must be counted once.

use crate::{
    detect::{Detectors, DnsMessage, Event, Host, Moment, Thresholds},
    parse,
};

/// `nettop -L`
pub fn nettop(output: &[u8]) {
    if let Ok(read) = parse::nettop::parse_nettop(output) {
        let rows: usize = read
            .samples
            .iter()
            .map(|sample| 1 + sample.processes.len() + sample.flows.len())
            .sum();
        at_most_lines(rows, output);
    }
}

/// `lsof -F`
pub fn lsof(output: &[u8]) {
    if let Ok(read) = parse::lsof::parse_lsof(output) {
        at_most_lines(read.sockets.len(), output);
    }
}

/// `netstat -ibn`
pub fn netstat_interfaces(output: &[u8]) {
    if let Ok(read) = parse::netstat::interfaces::parse_netstat_interfaces(output) {
        at_most_lines(read.links.len(), output);
    }
}

/// `netstat -rn`
pub fn netstat_routes(output: &[u8]) {
    if let Ok(read) = parse::netstat::routes::parse_netstat_routes(output) {
        at_most_lines(read.routes.len(), output);
    }
}

/// `scutil --dns`
pub fn scutil(output: &[u8]) {
    if let Ok(read) = parse::scutil::parse_scutil_dns(output) {
        at_most_lines(read.resolvers.len() + read.scoped.len(), output);
    }
}

/// `ps -axo pid=,lstart=`
pub fn ps(output: &[u8]) {
    if let Ok(read) = parse::ps::parse_ps_started(output) {
        at_most_lines(read.processes.len(), output);
    }
}

/// An address with a port
pub fn endpoint(output: &[u8]) {
    if let Some(endpoint) = parse::endpoint::parse_endpoint(&String::from_utf8_lossy(output)) {
        let _ = (
            endpoint.local(false),
            endpoint.local(true),
            endpoint.remote(),
        );
    }
}

/// Messages of a DNS client and to it, each after a byte that says how long it is
pub fn dns(mut bytes: &[u8]) {
    let mut detectors = Detectors::new(Thresholds::default());
    let now = Moment::now();
    let mut messages = 0;
    while let Some((&length, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(rest.len().min(length.into()));
        bytes = rest;
        let asks = length % 2 == 0;
        let (source_port, destination_port) = if asks { (4_000, 53) } else { (53, 4_000) };
        let message = DnsMessage {
            source: Host::from_text("10.0.0.1"),
            source_port,
            destination: Host::from_text("10.0.0.1"),
            destination_port,
            payload,
            actor: None,
            socket: None,
        };
        detectors.observe(now, &Event::DnsMessage(message));
        messages += 1;
    }
    let dns = detectors.dns_statistics();
    let counted = dns.queries + dns.responses + dns.repeated + dns.malformed + dns.other;
    assert_eq!(counted, messages);
}

fn at_most_lines(rows: usize, output: &[u8]) {
    assert!(rows <= output.split(|&byte| byte == b'\n').count());
}
