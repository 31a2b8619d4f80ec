//! `/proc/net/sockstat`: counts of sockets.

/// TCP sockets in TIME-WAIT, of IPv4 and IPv6 together: the word after `tw` in the
/// line `TCP:`.
///
/// # Errors
///
/// When there is no such line, word or number.
pub(crate) fn parse_time_wait(text: &[u8]) -> Result<u32, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
    let mut words = text
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))
        .ok_or("no line for TCP")?
        .split_ascii_whitespace();
    words.find(|word| *word == "tw").ok_or("no count `tw`")?;
    let count = words.next().ok_or("no number after `tw`")?;
    count.parse().map_err(|_| "the count `tw` is no number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINUX_6_12: &str = "\
sockets: used 30
TCP: inuse 1 orphan 0 tw 2418 alloc 1 mem 109
UDP: inuse 0 mem 0
";

    #[test]
    fn the_count_is_the_word_after_tw_of_tcp() {
        assert_eq!(parse_time_wait(LINUX_6_12.as_bytes()), Ok(2418));
        for bad in [
            "",
            "UDP: inuse 0 tw 3\n",
            "TCP: inuse 1\n",
            "TCP: tw\n",
            "TCP: tw -1\n",
            "TCP: tw 99999999999\n",
        ] {
            assert!(parse_time_wait(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_count_is_read_and_any_bytes_are_survived(
            count: u32, bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let text = format!("sockets: used 1\nTCP: inuse 1 orphan 0 tw {count} alloc 1\n");
            prop_assert_eq!(parse_time_wait(text.as_bytes()), Ok(count));
            let _ = parse_time_wait(&bytes);
        }
    }
}
