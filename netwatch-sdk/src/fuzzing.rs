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

/// An address without a port
pub fn address(output: &[u8]) {
    if let Some(address) = parse::address::parse_address(&String::from_utf8_lossy(output)) {
        let _ = address.with_port(1);
    }
}

/// `netstat -an`
pub fn netstat_states(output: &[u8]) {
    if let Ok(waiting) = parse::netstat::states::parse_netstat_time_wait(output) {
        at_most_lines(usize::try_from(waiting).unwrap_or(usize::MAX), output);
    }
}

/// `ioreg -r -c IOBlockStorageDriver`
pub fn ioreg(output: &[u8]) {
    let read = parse::ioreg::parse_drivers(output);
    at_most_lines(read.rows.len() + read.bad.len(), output);
}

/// `ss -tunapie`
pub fn ss(output: &[u8]) {
    let read = parse::ss::parse_ss(output);
    let unreadable = usize::try_from(read.unreadable).unwrap_or(usize::MAX);
    at_most_lines(read.sockets.len() + unreadable, output);
}

/// What `ping` prints, and what it complains of
pub fn ping(output: &[u8]) {
    if let Ok(read) = parse::ping::parse_statistics(output) {
        assert!(read.received <= read.sent);
        assert!(read.received > 0 || read.mean.is_none());
    }
    let _ = parse::ping::parse_refusal(output);
}

/// One DNS message
pub fn dns_message(payload: &[u8]) {
    if let Ok(message) = parse::dns::parse_dns(payload)
        && let Some(question) = message.question
    {
        // 255 bytes; an unprintable one is written as `\\123`.
        assert!(question.name.len() <= 4 * 255);
        assert!(payload.len() >= 12);
    }
}

/// `/proc/self/mountinfo`
pub fn mountinfo(text: &[u8]) {
    let read = parse::mountinfo::parse_mounts(text);
    at_most_lines(read.rows.len() + read.bad.len(), text);
}

/// `/proc/diskstats`
pub fn diskstats(text: &[u8]) {
    let read = parse::diskstats::parse_devices(text);
    at_most_lines(read.rows.len() + read.bad.len(), text);
}

/// `/proc/net/route` and `/proc/net/ipv6_route`
pub fn net_route(text: &[u8]) {
    for read in [
        parse::net_route::parse_ipv4(text),
        parse::net_route::parse_ipv6(text),
    ] {
        at_most_lines(read.rows.len() + read.bad.len(), text);
    }
}

/// `resolv.conf`
pub fn resolv_conf(text: &[u8]) {
    let read = parse::resolv_conf::parse_name_servers(text);
    at_most_lines(read.rows.len() + read.bad.len(), text);
}

/// `/proc/net/sockstat`
pub fn sockstat(text: &[u8]) {
    let _ = parse::sockstat::parse_time_wait(text);
}

/// The kernel's type information, and where it keeps a field
pub fn btf(data: &[u8]) {
    if let Some(btf) = parse::btf::Btf::parse(data) {
        let _ = btf.field("sock", "__sk_common.skc_family");
        let _ = btf.field("task_struct", "comm");
    }
}

/// Netlink messages of the socket diagnostics, and what their counters say
#[cfg(target_os = "linux")]
pub fn sock_diag(bytes: &[u8]) {
    use crate::backend::{
        sock_diag::netlink::{Batch, read_messages},
        tcp_counters::Fin,
    };
    let mut batch = Batch::default();
    read_messages(bytes, None, None, |socket| batch.take(socket));
    // A message has a header of 16 bytes.
    assert!(batch.sockets.len() as u64 + batch.unreadable <= bytes.len() as u64 / 16 + 1);
    for counters in batch.sockets.iter().filter_map(|socket| socket.counters()) {
        for fin in [Fin::Taken, Fin::NotTaken, Fin::Unknown] {
            let measured = counters.measure(fin, counters.direction());
            assert!(measured.payload.rx_bytes <= counters.bytes_received);
        }
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
