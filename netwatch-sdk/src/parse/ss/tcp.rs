//! The figures of a TCP connection.

use std::time::Duration;

use super::SsTcp;
use crate::reading::Rtt;

/// `Some(None)` when there are no figures, `None` when there are and one is not a number.
#[allow(clippy::option_option)]
pub(super) fn parse_tcp(texts: [&str; 2]) -> Option<Option<SsTcp>> {
    let mut tcp = SsTcp::default();
    let mut found = false;
    let mut smoothed = None;
    let mut minimum = None;
    for word in texts.iter().flat_map(|text| text.split_whitespace()) {
        tcp.has_ulp |= word.starts_with("tcp-ulp-");
        let Some((key, value)) = word.split_once(':') else {
            continue;
        };
        let number = || value.parse::<u64>().ok();
        match key {
            "cwnd" | "rto" => found = true,
            "bytes_acked" => tcp.bytes_acked = number()?,
            "bytes_received" => tcp.bytes_received = number()?,
            "bytes_sent" => tcp.bytes_sent = Some(number()?),
            "bytes_retrans" => tcp.bytes_retrans = number()?,
            "notsent" => tcp.notsent = number()?,
            "unacked" => tcp.unacked = number()?,
            // Unanswered now / over the connection's life.
            "retrans" => tcp.retransmits = value.split_once('/')?.1.parse().ok()?,
            "rtt" => {
                let (mean, variation) = value.split_once('/')?;
                smoothed = Some((millis(mean)?, millis(variation)?));
            }
            "minrtt" => minimum = Some(millis(value)?),
            _ => {}
        }
    }
    tcp.rtt = smoothed.map(|(smoothed, variation)| Rtt {
        smoothed,
        variation: Some(variation),
        minimum,
    });
    Some(found.then_some(tcp))
}

/// `12`, `0.044`, `1.5e+03`: milliseconds, to the microsecond.
pub(super) fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1000.0)
        .ok()
        .map(|exact| Duration::from_micros((exact.as_nanos().saturating_add(500) / 1000) as u64))
}
