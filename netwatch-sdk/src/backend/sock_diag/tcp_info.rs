//! The kernel's `struct tcp_info`, as long as the running kernel made it.
//!
//! The structure only ever grew at its end (`include/uapi/linux/tcp.h`), so a
//! field is there when the payload reaches its end. netlink-packet-sock-diag
//! decodes it only whole, which kernels older than 5.5 do not send.

use std::time::Duration;

use crate::reading::{Rtt, SocketState};

/// The fields that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    pub(crate) state: SocketState,
    /// Sequence numbers sent and not acknowledged: segments.
    pub(crate) unacked: u32,
    pub(crate) rtt: Option<Rtt>,
    pub(crate) total_retrans: u32,
    /// Linux 4.1.
    pub(crate) bytes_acked: Option<u64>,
    /// Linux 4.1.
    pub(crate) bytes_received: Option<u64>,
    /// Linux 4.6.
    pub(crate) notsent_bytes: Option<u32>,
    /// Linux 4.19.
    pub(crate) bytes_sent: Option<u64>,
    /// Linux 4.19.
    pub(crate) bytes_retrans: Option<u64>,
}

const UNACKED: usize = 24;
const RTT: usize = 68;
const RTTVAR: usize = 72;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const NOTSENT_BYTES: usize = 144;
const MIN_RTT: usize = 148;
const BYTES_SENT: usize = 200;
const BYTES_RETRANS: usize = 208;

impl TcpInfo {
    /// `None` when the payload ends before the fields that every kernel has.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let smoothed = u32_at(payload, RTT)?;
        let variation = u32_at(payload, RTTVAR)?;
        let micros = |value: u32| Duration::from_micros(value.into());
        Some(Self {
            state: SocketState::from_number(*payload.first()?),
            unacked: u32_at(payload, UNACKED)?,
            // Zero until the first measurement.
            rtt: (smoothed > 0).then(|| Rtt {
                smoothed: micros(smoothed),
                variation: Some(micros(variation)),
                // All ones until the first measurement.
                minimum: u32_at(payload, MIN_RTT)
                    .filter(|&minimum| minimum != u32::MAX)
                    .map(micros),
            }),
            total_retrans: u32_at(payload, TOTAL_RETRANS)?,
            bytes_acked: u64_at(payload, BYTES_ACKED),
            bytes_received: u64_at(payload, BYTES_RECEIVED),
            notsent_bytes: u32_at(payload, NOTSENT_BYTES),
            bytes_sent: u64_at(payload, BYTES_SENT),
            bytes_retrans: u64_at(payload, BYTES_RETRANS),
        })
    }
}

fn u32_at(payload: &[u8], offset: usize) -> Option<u32> {
    let bytes = payload.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u64_at(payload: &[u8], offset: usize) -> Option<u64> {
    let bytes = payload.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; 280];
        bytes[RTT..RTT + 4].copy_from_slice(&1500u32.to_ne_bytes());
        bytes[RTTVAR..RTTVAR + 4].copy_from_slice(&750u32.to_ne_bytes());
        bytes[TOTAL_RETRANS..TOTAL_RETRANS + 4].copy_from_slice(&3u32.to_ne_bytes());
        bytes[BYTES_ACKED..BYTES_ACKED + 8].copy_from_slice(&10u64.to_ne_bytes());
        bytes[BYTES_RECEIVED..BYTES_RECEIVED + 8].copy_from_slice(&11u64.to_ne_bytes());
        bytes[NOTSENT_BYTES..NOTSENT_BYTES + 4].copy_from_slice(&12u32.to_ne_bytes());
        bytes[MIN_RTT..MIN_RTT + 4].copy_from_slice(&1400u32.to_ne_bytes());
        bytes[BYTES_SENT..BYTES_SENT + 8].copy_from_slice(&13u64.to_ne_bytes());
        bytes[BYTES_RETRANS..BYTES_RETRANS + 8].copy_from_slice(&14u64.to_ne_bytes());
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn a_current_kernel_gives_every_field() {
        let info = TcpInfo::parse(&payload(280)).unwrap();
        assert_eq!(info.total_retrans, 3);
        assert_eq!(info.bytes_acked, Some(10));
        assert_eq!(info.bytes_received, Some(11));
        assert_eq!(info.notsent_bytes, Some(12));
        assert_eq!(info.bytes_sent, Some(13));
        assert_eq!(info.bytes_retrans, Some(14));
        let rtt = info.rtt.unwrap();
        assert_eq!(rtt.smoothed, Duration::from_micros(1500));
        assert_eq!(rtt.variation, Some(Duration::from_micros(750)));
        assert_eq!(rtt.minimum, Some(Duration::from_micros(1400)));
    }

    #[test]
    fn an_older_kernel_gives_what_it_has() {
        let info = TcpInfo::parse(&payload(192)).unwrap();
        assert_eq!(info.bytes_received, Some(11));
        assert_eq!(info.bytes_sent, None);
        let info = TcpInfo::parse(&payload(104)).unwrap();
        assert_eq!(info.bytes_received, None);
        assert_eq!(info.rtt.unwrap().minimum, None);
    }

    #[test]
    fn a_payload_without_the_oldest_fields_is_refused() {
        assert_eq!(TcpInfo::parse(&payload(103)), None);
        assert_eq!(TcpInfo::parse(&[]), None);
    }

    #[test]
    fn round_trip_times_that_were_never_measured_are_none() {
        let mut bytes = payload(280);
        bytes[MIN_RTT..MIN_RTT + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(TcpInfo::parse(&bytes).unwrap().rtt.unwrap().minimum, None);
        bytes[RTT..RTT + 4].fill(0);
        assert_eq!(TcpInfo::parse(&bytes).unwrap().rtt, None);
    }
}
