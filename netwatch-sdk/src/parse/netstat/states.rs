//! `netstat -an`: the states of connections.

use super::super::text;
use crate::{Error, ErrorKind, Result};

/// TCP sockets in TIME-WAIT, of both families, in the output of `netstat -an`.
///
/// # Errors
///
/// When there is no header of a socket table.
pub(crate) fn parse_netstat_time_wait(output: &[u8]) -> Result<u32> {
    let mut in_table = false;
    let mut waiting = 0_u32;
    for line in text::lines(output) {
        let mut cells = line.split_ascii_whitespace();
        match cells.next() {
            Some("Proto") => in_table = true,
            Some(protocol) if in_table && protocol.starts_with("tcp") => {
                // The queues and the two addresses come before the state.
                let state = cells.nth(4);
                waiting = waiting.saturating_add(u32::from(state == Some("TIME_WAIT")));
            }
            _ => {}
        }
    }
    if in_table {
        Ok(waiting)
    } else {
        let what = "netstat printed no table of sockets";
        Err(Error::new(ErrorKind::Malformed, what))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "Proto Recv-Q Send-Q  Local Address  Foreign Address  (state)\n";

    #[test]
    fn sockets_of_tcp_in_time_wait_count_and_no_others() {
        let real = include_bytes!("../../../tests/fixtures/netstat/macos_an_both_families.txt");
        assert_eq!(parse_netstat_time_wait(real).unwrap(), 1);
        let text = format!(
            "{HEADER}tcp4 0 0 127.0.0.1.1 127.0.0.1.2 TIME_WAIT\n\
             tcp6 0 0 ::1.1 ::1.2 TIME_WAIT 0 0\n\
             tcp4 0 0 127.0.0.1.1 127.0.0.1.2 CLOSE_WAIT\n\
             tcp4 0 0 TIME_WAIT\n\
             udp4 0 0 127.0.0.1.1 127.0.0.1.2 TIME_WAIT\n"
        );
        assert_eq!(parse_netstat_time_wait(text.as_bytes()).unwrap(), 2);
    }

    #[test]
    fn no_table_is_an_error_and_an_empty_table_is_none_waiting() {
        assert_eq!(parse_netstat_time_wait(HEADER.as_bytes()).unwrap(), 0);
        let error = parse_netstat_time_wait(b"netstat: illegal option\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_netstat_time_wait(&[HEADER.as_bytes(), &bytes].concat());
        }
    }
}
