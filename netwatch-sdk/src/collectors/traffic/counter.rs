//! What a counter that never goes down says when it did.

use std::time::Duration;

/// Where a counter of 32 bits starts again.
const WRAP: u64 = 1 << 32;
/// Faster than any interface whose driver still counts in 32 bits: 10 Gbit/s.
const FASTEST_32_BIT: f64 = 1.25e9;

/// The bytes between two values of a counter that were read `elapsed` apart.
///
/// A value below the previous one is a 32-bit counter that wrapped, when what
/// it then counted is possible in the time; else the counter started again
/// from zero, and its value is what passed since.
pub(super) fn delta(previous: u64, current: u64, elapsed: Duration) -> u64 {
    if let Some(delta) = current.checked_sub(previous) {
        return delta;
    }
    let fits = elapsed.as_secs_f64() * FASTEST_32_BIT;
    match (WRAP - 1).checked_sub(previous) {
        // A reset from the lower half would pass for a wrap in any long interval.
        Some(rest) if previous >= WRAP / 2 && (rest + 1 + current) as f64 <= fits => {
            rest + 1 + current
        }
        _ => current,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_counter_near_its_32_bit_end_wraps() {
        assert_eq!(delta(u64::from(u32::MAX) - 99, 900, SECOND), 1000);
    }

    #[test]
    fn a_drop_that_no_wrap_explains_is_a_start_from_zero() {
        assert_eq!(delta(u64::from(u32::MAX) / 4, 900, SECOND), 900);
        assert_eq!(delta(1 << 40, 900, SECOND), 900);
        // 2 GiB in a millisecond.
        assert_eq!(delta(WRAP / 2, 900, Duration::from_millis(1)), 900);
    }

    #[test]
    fn a_64_bit_counter_passes_32_bits_without_a_wrap() {
        assert_eq!(delta(WRAP - 1, WRAP + 1, SECOND), 2);
    }

    proptest! {
        #[test]
        fn a_rising_counter_gives_its_difference(previous: u64, current: u64, ms: u64) {
            let delta = delta(previous, current, Duration::from_millis(ms));
            if current >= previous {
                prop_assert_eq!(delta, current - previous);
            } else {
                prop_assert!(delta == current || delta == WRAP - previous + current);
            }
        }
    }
}
