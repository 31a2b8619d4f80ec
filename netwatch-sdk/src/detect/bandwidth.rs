//! An interface above its threshold.
//!
//! Two samples in a row, so that one burst says nothing. The threshold is what
//! the operator finds remarkable; a backup or an upgrade that really moves
//! more is reported, as it should be.

use std::time::Instant;

use super::{
    actors::Actors,
    bounded::Bounded,
    event::InterfaceRate,
    finding::{Finding, Signal, Subject},
    text::{clean, rate},
    window::Latch,
};
use crate::wire::AlertSeverity;

/// Interfaces followed at once, about 150 bytes each: 0.2 MB at most.
pub(crate) const INTERFACES: usize = 1_024;
/// Longest interface name kept. Linux's own are at most 15 bytes.
const NAME_BYTES: usize = 64;

/// When an interface is above its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandwidthThreshold {
    /// Bytes a second, received or sent, that must be exceeded. 100 MB/s: most
    /// of a gigabit link. Nothing exceeds `u64::MAX`.
    pub bytes_per_second: u64,
    /// In this many samples in a row. 2.
    pub samples: u32,
}

impl Default for BandwidthThreshold {
    fn default() -> Self {
        Self {
            bytes_per_second: 100_000_000,
            samples: 2,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Bandwidth {
    interfaces: Bounded<String, Interface>,
}

#[derive(Debug, Default)]
struct Interface {
    above_in_a_row: u32,
    occurrence: u64,
    reported: bool,
    latch: Latch,
}

impl Bandwidth {
    pub(crate) fn new() -> Self {
        Self {
            interfaces: Bounded::new(INTERFACES),
        }
    }

    /// A sample counts when either direction is above. After a finding, the
    /// interface must fall to 90 % of the threshold in both directions before
    /// going above counts as a new occurrence; while it stays above, the same
    /// one is reported once a minute.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        event: InterfaceRate<'_>,
        threshold: BandwidthThreshold,
    ) -> Option<Finding> {
        let limit = threshold.bytes_per_second;
        let name = clean(event.interface, NAME_BYTES);
        let interface = self.interfaces.touch(name.clone(), Interface::default);
        let highest = event.rx_rate.max(event.tx_rate);
        if highest <= limit {
            interface.above_in_a_row = 0;
            if interface.reported && highest <= limit - limit / 10 {
                interface.reported = false;
                interface.occurrence += 1;
                interface.latch.reset();
            }
            return None;
        }
        interface.above_in_a_row = interface.above_in_a_row.saturating_add(1);
        let above = interface.above_in_a_row >= threshold.samples;
        interface.latch.fires(now, above).then(|| {
            interface.reported = true;
            Finding {
                signal: Signal::Bandwidth,
                severity: AlertSeverity::Warning,
                message: format!("{name} above {}", rate(limit)),
                detail: format!(
                    "receives {}, sends {}, above in {} samples in a row",
                    rate(event.rx_rate),
                    rate(event.tx_rate),
                    interface.above_in_a_row,
                ),
                subject: Subject::Interface {
                    name,
                    occurrence: interface.occurrence,
                },
                actors: Actors::Unknown,
            }
        })
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.interfaces.evicted()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1_000_000;

    /// Samples 10 s apart, received and sent in MB/s; the findings with their place.
    fn findings(samples: impl IntoIterator<Item = (u64, u64)>) -> Vec<(usize, Finding)> {
        let start = Instant::now();
        let mut detector = Bandwidth::new();
        samples
            .into_iter()
            .enumerate()
            .filter_map(|(place, (rx, tx))| {
                let event = InterfaceRate {
                    interface: "eth0",
                    rx_rate: rx * MB,
                    tx_rate: tx * MB,
                };
                let now = start + Duration::from_secs(10) * place as u32;
                let found = detector.observe(now, event, BandwidthThreshold::default());
                found.map(|finding| (place, finding))
            })
            .collect()
    }

    #[test]
    fn two_samples_above_in_a_row_are_found() {
        let found = findings([(150, 3), (200, 0)]);
        assert_eq!(found.len(), 1);
        let (place, finding) = &found[0];
        assert_eq!(*place, 1);
        assert_eq!(finding.severity, AlertSeverity::Warning);
        assert_eq!(finding.message, "eth0 above 100.0 MB/s");
        assert_eq!(
            finding.detail,
            "receives 200.0 MB/s, sends 0 B/s, above in 2 samples in a row"
        );
    }

    #[test]
    fn either_direction_counts() {
        assert_eq!(findings([(0, 101), (101, 0)]).len(), 1);
    }

    #[test]
    fn one_sample_above_is_not_enough() {
        assert_eq!(
            findings([(500, 0), (99, 0), (500, 0), (100, 0), (500, 0)]),
            []
        );
    }

    #[test]
    fn exactly_the_threshold_is_not_above_it() {
        assert_eq!(findings([(100, 100); 50]), []);
    }

    #[test]
    fn what_stays_above_is_found_again_each_minute() {
        let places: Vec<_> = findings([(150, 0); 16])
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        assert_eq!(places, [1, 7, 13]);
    }

    #[test]
    fn a_new_occurrence_needs_a_fall_to_90_percent() {
        let occurrences = |between: u64| {
            findings([(150, 0), (150, 0), (between, 0), (150, 0), (150, 0)])
                .into_iter()
                .map(|(_, finding)| finding.subject)
                .collect::<Vec<_>>()
        };
        assert_eq!(occurrences(91).len(), 1);
        let two = occurrences(90);
        assert_eq!(two.len(), 2);
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn ordinary_traffic_is_not_above_the_default() {
        // A page, a package upgrade on a 600 Mbit/s line with one burst, a health check.
        assert_eq!(findings([(3, 0), (12, 1), (0, 0)]), []);
        assert_eq!(findings([(75, 1), (75, 1), (118, 1), (75, 1)]), []);
        assert_eq!(findings([(0, 0); 100]), []);
    }

    #[test]
    fn the_largest_threshold_is_never_exceeded_and_zero_is_by_any_traffic() {
        let now = Instant::now();
        let mut detector = Bandwidth::new();
        let event = InterfaceRate {
            interface: "eth0",
            rx_rate: u64::MAX,
            tx_rate: 0,
        };
        let off = BandwidthThreshold {
            bytes_per_second: u64::MAX,
            samples: 1,
        };
        assert_eq!(detector.observe(now, event, off), None);
        let any = BandwidthThreshold {
            bytes_per_second: 0,
            samples: 1,
        };
        assert!(
            detector
                .observe(
                    now,
                    InterfaceRate {
                        rx_rate: 1,
                        ..event
                    },
                    any
                )
                .is_some()
        );
    }

    #[test]
    fn many_interfaces_take_bounded_memory_and_are_counted() {
        let mut detector = Bandwidth::new();
        let now = Instant::now();
        for number in 0..100_000 {
            let name = format!("veth{number}");
            let event = InterfaceRate {
                interface: &name,
                rx_rate: 1,
                tx_rate: 1,
            };
            detector.observe(now, event, BandwidthThreshold::default());
        }
        assert_eq!(detector.interfaces.len(), INTERFACES);
        assert_eq!(detector.evicted(), 100_000 - INTERFACES as u64);
    }

    proptest! {
        #[test]
        fn fires_only_with_two_in_a_row_above(samples in prop::collection::vec((80u64..120, 80u64..120), 0..100)) {
            for (place, _) in findings(samples.clone()) {
                prop_assert!(place > 0);
                for (rx, tx) in &samples[place - 1..=place] {
                    prop_assert!(rx.max(tx) > &100);
                }
            }
        }
    }
}
