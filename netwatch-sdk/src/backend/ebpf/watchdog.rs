//! Notices that the hooks may have stopped counting.
//!
//! Packets with payload pass and no call is counted: perhaps nobody has read them yet,
//! perhaps the programs do not run any more. The test of the hooks tells.

use std::time::{Duration, Instant};

use super::accounts::Total;

/// No test within this time of the last one that passed.
const PAUSE: Duration = Duration::from_secs(5);
/// Where packets are not counted, silence alone is a reason, after this time.
const SILENCE: Duration = Duration::from_secs(60);

/// IPv6 and TCP headers with all their options are shorter.
const HEADERS: u64 = 120;

/// What was counted up to the last reading, and how the last test went.
#[derive(Debug)]
pub(super) struct Watchdog {
    before: Total,
    passed: Instant,
    /// The hooks failed the last test.
    failed: bool,
}

impl Watchdog {
    /// The hooks have just passed a test.
    pub(super) fn new(passed: Instant) -> Self {
        Self {
            before: Total::default(),
            passed,
            failed: false,
        }
    }

    /// How a test went.
    pub(super) const fn tested(&mut self, passed: bool, now: Instant) {
        self.failed = !passed;
        if passed {
            self.passed = now;
        }
    }

    /// Takes a reading; `true` when the hooks have to be tested.
    pub(super) fn suspects(&mut self, counted: Total, packets: bool, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.before, counted);
        let (calls, past_calls) = (counted.payload, before.payload);
        let (wire, past_wire) = (counted.wire, before.wire);
        let with_payload = |bytes: u64, past_bytes, packets: u64, past_packets| {
            let most = packets.saturating_sub(past_packets).saturating_mul(HEADERS);
            bytes.saturating_sub(past_bytes) > most
        };
        let silent_tx = calls.tx_bytes <= past_calls.tx_bytes;
        let silent_rx = calls.rx_bytes <= past_calls.rx_bytes;
        let (is_due, pause) = if packets {
            let tx = with_payload(
                wire.tx_bytes,
                past_wire.tx_bytes,
                wire.tx_packets,
                past_wire.tx_packets,
            );
            let rx = with_payload(
                wire.rx_bytes,
                past_wire.rx_bytes,
                wire.rx_packets,
                past_wire.rx_packets,
            );
            (silent_tx && tx || silent_rx && rx, PAUSE)
        } else {
            (silent_tx && silent_rx, SILENCE)
        };
        self.failed || is_due && now.saturating_duration_since(self.passed) >= pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Payload, WireBytes};

    fn total(calls: u64, packets: u64, bytes: u64) -> Total {
        Total {
            payload: Payload {
                rx_bytes: calls,
                tx_bytes: calls,
            },
            wire: WireBytes {
                rx_bytes: bytes,
                tx_bytes: bytes,
                rx_packets: packets,
                tx_packets: packets,
                ..WireBytes::default()
            },
        }
    }

    #[test]
    fn packets_with_payload_and_no_call_are_suspicious_once_in_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(start);
        assert!(!watchdog.suspects(total(5_000, 10, 6_000), true, at(6)));
        assert!(!watchdog.suspects(total(5_000, 10, 6_000), true, at(7)));
        // Keep-alives and acknowledgements.
        assert!(!watchdog.suspects(total(5_000, 15, 6_260), true, at(8)));
        assert!(watchdog.suspects(total(5_000, 16, 7_260), true, at(9)));
        watchdog.tested(true, at(9));
        assert!(!watchdog.suspects(total(5_000, 17, 8_260), true, at(10)));
        assert!(watchdog.suspects(total(5_000, 18, 9_260), true, at(14)));
        assert!(!watchdog.suspects(total(6_000, 19, 10_260), true, at(30)));
    }

    #[test]
    fn hooks_that_failed_are_tested_until_they_pass() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        watchdog.tested(false, start);
        assert!(watchdog.suspects(total(5_000, 10, 6_000), true, start));
        watchdog.tested(true, start);
        assert!(!watchdog.suspects(total(6_000, 20, 7_000), true, start));
    }

    #[test]
    fn one_direction_alone_is_noticed() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        let mut counted = total(5_000, 10, 15_000);
        counted.payload.rx_bytes = 0;
        assert!(watchdog.suspects(counted, true, start + PAUSE));
    }

    #[test]
    fn without_packets_silence_is_tested_once_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(start);
        assert!(!watchdog.suspects(total(1, 0, 0), false, at(61)));
        assert!(watchdog.suspects(total(1, 0, 0), false, at(62)));
        watchdog.tested(true, at(62));
        assert!(!watchdog.suspects(total(1, 0, 0), false, at(63)));
        assert!(watchdog.suspects(total(1, 0, 0), false, at(123)));
    }
}
