//! `ioreg -r -c IOBlockStorageDriver`: traffic of macOS disks.

use super::lines::{Lines, parse_text_lines};

/// Traffic of one disk since it appeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriverIo {
    pub(crate) read_bytes: u64,
    pub(crate) write_bytes: u64,
}

/// One row for each driver, from its `"Statistics"` line.
pub(crate) fn parse_drivers(text: &[u8]) -> Lines<DriverIo> {
    parse_text_lines(text, |line| {
        // Nested drivers are drawn with bars before the property.
        let property = line.trim_start_matches([' ', '|']);
        let Some(statistics) = property.strip_prefix("\"Statistics\" = ") else {
            return Ok(None);
        };
        Ok(Some(DriverIo {
            read_bytes: counter(statistics, "\"Bytes (Read)\"=")?,
            write_bytes: counter(statistics, "\"Bytes (Write)\"=")?,
        }))
    })
}

fn counter(statistics: &str, key: &str) -> Result<u64, &'static str> {
    let (_, value) = statistics.split_once(key).ok_or("a counter is missing")?;
    let digits = value.split([',', '}']).next().unwrap_or_default();
    digits.parse().map_err(|_| "a counter is not a number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_driver_gives_one_row_however_deep_it_is_drawn() {
        let text = br#"
+-o IOBlockStorageDriver  <class IOBlockStorageDriver, id 0x1, registered>
  | {
  |   "Statistics" = {"Operations (Write)"=10,"Bytes (Read)"=4096,"Errors (Write)"=0,"Bytes (Write)"=512,"Operations (Read)"=2}
  | }
  +-o Media  <class IOMedia>
+-o IOBlockStorageDriver  <class IOBlockStorageDriver, id 0x2>
    {
      "IOClass" = "IOBlockStorageDriver"
      "Statistics" = {"Bytes (Write)"=7,"Bytes (Read)"=5}
    }
"#;
        let lines = parse_drivers(text);
        let row = |read_bytes, write_bytes| DriverIo {
            read_bytes,
            write_bytes,
        };
        assert_eq!(lines.rows, [row(4096, 512), row(5, 7)]);
        assert_eq!(lines.bad, []);
    }

    #[test]
    fn statistics_without_a_counter_are_a_bad_line_not_zero() {
        let lines = parse_drivers(br#""Statistics" = {"Bytes (Read)"=5}"#);
        assert_eq!((lines.rows.len(), lines.bad.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_and_bad_lines_never_a_panic(bytes: Vec<u8>) {
            parse_drivers(&bytes);
        }

        #[test]
        fn every_counter_survives(read_bytes: u64, write_bytes: u64) {
            let text = format!(r#"  "Statistics" = {{"Bytes (Read)"={read_bytes},"Bytes (Write)"={write_bytes}}}"#);
            prop_assert_eq!(parse_drivers(text.as_bytes()).rows, vec![DriverIo { read_bytes, write_bytes }]);
        }
    }
}
