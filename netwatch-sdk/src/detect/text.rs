//! Text from the network and from other processes, made safe to show on one line.

use std::fmt::Write;

/// `text` without control characters, at most `limit` bytes of it; what was cut shows as `…`.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let start = out.len();
        if character.is_control() {
            // Writing to a String does not fail.
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
        if out.len() > limit {
            out.truncate(start);
            out.push('…');
            break;
        }
    }
    out
}

/// A rate for people: `1.5 MB/s`, decimal units.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    UNITS
        .iter()
        .find(|(size, _)| bytes_per_second >= *size)
        .map_or_else(
            || format!("{bytes_per_second} B/s"),
            |(size, unit)| {
                let tenths = u128::from(bytes_per_second) * 10 / u128::from(*size);
                format!("{}.{} {unit}/s", tenths / 10, tenths % 10)
            },
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_shown_and_do_nothing() {
        assert_eq!(clean("a\nb\x1b[31m", 99), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn rates_are_in_decimal_units() {
        assert_eq!(rate(0), "0 B/s");
        assert_eq!(rate(999), "999 B/s");
        assert_eq!(rate(1_000), "1.0 kB/s");
        assert_eq!(rate(100_000_000), "100.0 MB/s");
        assert_eq!(rate(u64::MAX), "18446744073.7 GB/s");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in "\\PC*|.*", limit in 0usize..50) {
            let clean = clean(&text, limit);
            prop_assert!(clean.len() <= limit + '…'.len_utf8());
            prop_assert!(!clean.chars().any(char::is_control));
        }
    }
}
