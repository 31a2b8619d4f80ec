//! What `ping` prints: iputils, `BusyBox`, macOS `ping` and `ping6`.
//!
//! Only the statistics at the end are read: every variant prints them, and
//! the lines before them hold whatever the network answered.

use std::time::Duration;

/// The statistics `ping` ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) sent: u32,
    /// Without duplicates.
    pub(crate) received: u32,
    /// Mean round-trip time; `None` when nothing came back or it was not printed.
    pub(crate) mean: Option<Duration>,
}

/// The statistics, or why there are none: `ping` did not get as far as sending.
pub(crate) fn parse_statistics(text: &[u8]) -> Result<Statistics, &'static str> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text
        .lines()
        .skip_while(|line| !(line.starts_with("--- ") && line.contains(" statistics ---")))
        .skip(1);
    let counts = lines.next().ok_or("no statistics")?;
    let sent = count(counts, " packets transmitted")?;
    let received = count(counts, " received").or_else(|_| count(counts, " packets received"))?;
    if received > sent {
        return Err("more packets received than sent");
    }
    Ok(Statistics {
        sent,
        received,
        mean: lines.find_map(mean).filter(|_| received > 0),
    })
}

/// Why `ping` did not get as far as sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The kernel knows of no way to the target.
    Unreachable,
    /// This user may not send ICMP.
    Permission,
}

/// What `ping` complained of on standard error, in the C locale.
pub(crate) fn parse_refusal(text: &[u8]) -> Option<Refusal> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["unreachable", "no route to host", "network is down"]) {
        Some(Refusal::Unreachable)
    } else if says(&["not permitted", "permission denied"]) {
        Some(Refusal::Permission)
    } else {
        None
    }
}

/// The number that stands before `label`, alone between commas.
fn count(line: &str, label: &str) -> Result<u32, &'static str> {
    line.split(',')
        .find_map(|part| part.trim().strip_suffix(label)?.parse().ok())
        .ok_or("statistics without a count")
}

/// The second number of `rtt min/avg/max/mdev = 0.034/0.080/0.169/0.062 ms`.
fn mean(line: &str) -> Option<Duration> {
    let (label, values) = line.split_once(" = ")?;
    if !label.contains("min/avg/max") {
        return None;
    }
    let milliseconds: f64 = values.split('/').nth(1)?.trim().parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statistics(sent: u32, received: u32, mean_us: Option<u64>) -> Statistics {
        Statistics {
            sent,
            received,
            mean: mean_us.map(Duration::from_micros),
        }
    }

    #[test]
    fn iputils_prints_rtt_and_mdev() {
        let text = include_bytes!("../../tests/fixtures/ping/iputils_20221126_one_lost.txt");
        assert_eq!(parse_statistics(text), Ok(statistics(3, 2, Some(36))));
    }

    #[test]
    fn iputils_counts_errors_and_duplicates_apart_from_replies() {
        let unreachable = include_bytes!("../../tests/fixtures/ping/iputils_unreachable.txt");
        assert_eq!(parse_statistics(unreachable), Ok(statistics(3, 0, None)));
        let duplicates = b"--- 192.0.2.255 ping statistics ---\n\
            2 packets transmitted, 2 received, +19 duplicates, 0% packet loss, time 1013ms\n\
            rtt min/avg/max/mdev = 0.586/504.260/1276.448/417.208 ms, pipe 2\n";
        assert_eq!(
            parse_statistics(duplicates),
            Ok(statistics(2, 2, Some(504_260)))
        );
    }

    #[test]
    fn busybox_prints_round_trip_without_deviation() {
        let text = include_bytes!("../../tests/fixtures/ping/busybox_1.33_three_replies.txt");
        assert_eq!(parse_statistics(text), Ok(statistics(3, 3, Some(54))));
    }

    #[test]
    fn macos_ping_and_ping6_print_loss_with_a_decimal() {
        let ping = include_bytes!("../../tests/fixtures/ping/macos_one_lost.txt");
        assert_eq!(parse_statistics(ping), Ok(statistics(3, 2, Some(28_042))));
        let ping6 = include_bytes!("../../tests/fixtures/ping/macos_ping6.txt");
        assert_eq!(parse_statistics(ping6), Ok(statistics(3, 3, Some(115))));
    }

    #[test]
    fn no_statistics_is_an_error_not_total_loss() {
        for text in [
            "ping: connect: Network is unreachable\n",
            "ping: bad address 'nowhere.invalid'\n",
            "ping: nowhere.invalid: Temporary failure in name resolution\n",
            "--- 192.0.2.1 ping statistics ---",
            "",
        ] {
            assert!(parse_statistics(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_route_and_no_permission_are_told_apart() {
        let refusal = |text: &str| parse_refusal(text.as_bytes());
        let unreachable = Some(Refusal::Unreachable);
        assert_eq!(
            refusal("ping: connect: Network is unreachable\n"),
            unreachable
        );
        assert_eq!(refusal("ping: sendto: No route to host\n"), unreachable);
        let permission = Some(Refusal::Permission);
        assert_eq!(
            refusal("ping: permission denied (are you root?)\n"),
            permission
        );
        assert_eq!(
            refusal("ping: socket: Operation not permitted\n"),
            permission
        );
        assert_eq!(refusal("ping: bad address 'nowhere.invalid'\n"), None);
    }

    #[test]
    fn a_host_that_answers_with_statistics_of_its_own_is_not_believed() {
        let text = "64 bytes from --- statistics --- : 9 packets transmitted, 9 received\n";
        assert!(parse_statistics(text.as_bytes()).is_err());
    }

    #[test]
    fn every_shared_capture_parses() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/ping");
        let Ok(captures) = std::fs::read_dir(folder) else {
            eprintln!("skipped: no {folder}");
            return;
        };
        for capture in captures {
            let path = capture.unwrap().path();
            let text = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let parsed = parse_statistics(&text);
            if name.contains("badname") || name.contains("noroute") {
                assert!(parsed.is_err(), "{name}");
            } else {
                let parsed = parsed.unwrap_or_else(|why| panic!("{name}: {why}"));
                assert_eq!(parsed.mean.is_some(), parsed.received > 0, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_statistics_or_an_error_never_a_panic(bytes: Vec<u8>) {
            let _ = parse_statistics(&bytes);
        }

        #[test]
        fn any_tail_gives_statistics_that_are_possible(tail: String) {
            let text = format!("--- x ping statistics ---\n{tail}");
            if let Ok(statistics) = parse_statistics(text.as_bytes()) {
                prop_assert!(statistics.received <= statistics.sent);
            }
        }

        #[test]
        fn every_count_survives(sent: u32, lost: u32, mean_us in 0_u64..10_000_000) {
            let received = sent.saturating_sub(lost);
            let mean_ms = mean_us as f64 / 1e3;
            let text = format!(
                "--- 192.0.2.1 ping statistics ---\n\
                 {sent} packets transmitted, {received} received, 5% packet loss, time 2ms\n\
                 rtt min/avg/max/mdev = 0.1/{mean_ms:.3}/9/1 ms\n"
            );
            let parsed = parse_statistics(text.as_bytes()).unwrap();
            prop_assert_eq!((parsed.sent, parsed.received), (sent, received));
            if let Some(mean) = parsed.mean {
                prop_assert_eq!((mean.as_secs_f64() * 1e6).round() as u64, mean_us);
            }
        }
    }
}
