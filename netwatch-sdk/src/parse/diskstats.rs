//! `/proc/diskstats`: traffic of block devices.

use super::lines::{Lines, parse_text_lines};

/// The file counts in 512-byte sectors, whatever the device's own sector size.
const SECTOR: u64 = 512;

/// Traffic of one block device since it appeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceIo {
    /// As in `/sys/block`, partitions included.
    pub(crate) name: String,
    pub(crate) read_bytes: u64,
    pub(crate) write_bytes: u64,
}

/// Every block device and partition.
pub(crate) fn parse_devices(text: &[u8]) -> Lines<DeviceIo> {
    parse_text_lines(text, |line| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let [_major, _minor, name, counters @ ..] = columns.as_slice() else {
            return Err("too few columns");
        };
        // Before Linux 2.6.25 partitions had four counters in another order.
        let (read, written) = match counters {
            [_reads, _merged, read, _ms, _writes, _merged2, written, ..] => (read, written),
            [_reads, read, _writes, written] => (read, written),
            _ => return Err("too few columns"),
        };
        Ok(Some(DeviceIo {
            name: (*name).to_owned(),
            read_bytes: sectors(read)?,
            write_bytes: sectors(written)?,
        }))
    })
}

fn sectors(column: &str) -> Result<u64, &'static str> {
    let sectors: u64 = column.parse().map_err(|_| "counter is not a number")?;
    sectors.checked_mul(SECTOR).ok_or("counter is too large")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sectors_become_bytes() {
        let text = b"   8       0 sda 14200 3361 892828 5058 18736 13416 715384 12604 0 24940 17663 0 0 0 0 0 0\n";
        let sda = DeviceIo {
            name: "sda".into(),
            read_bytes: 892_828 * 512,
            write_bytes: 715_384 * 512,
        };
        assert_eq!(parse_devices(text).rows, [sda]);
    }

    #[test]
    fn a_line_without_counters_costs_that_line() {
        let lines = parse_devices(b" 8 0 sda\n 8 0 sdb 1 2 x 4 5 6 7\n\n 8 0 sdc 1 2 3 4 5 6 7\n");
        assert_eq!(lines.rows.len(), 1);
        assert_eq!(lines.bad.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_and_bad_lines_never_a_panic(bytes: Vec<u8>) {
            parse_devices(&bytes);
        }

        #[test]
        fn every_counter_survives_or_is_refused(read: u64, written: u64) {
            let lines = parse_devices(format!("8 0 sda 1 2 {read} 4 5 6 {written} 8 9 10 11").as_bytes());
            let expected = read.checked_mul(512).zip(written.checked_mul(512));
            let got = lines.rows.first().map(|device| (device.read_bytes, device.write_bytes));
            prop_assert_eq!(got, expected);
        }
    }
}
