//! `ioreg -c IOBlockStorageDriver`: traffic of disks.

use super::{Host, Partial};
use crate::{Error, ErrorKind, Result, parse::ioreg::parse_drivers, wire::DiskIo};

/// The bytes that block storage drivers moved since boot. A mounted disk image
/// has a driver of its own and counts on top of the disk it is on.
pub(crate) fn read_disk_io(host: &Host) -> Result<Partial<DiskIo>> {
    let arguments = ["-r", "-c", "IOBlockStorageDriver", "-w", "0"];
    let lines = parse_drivers(&host.runner.stdout("ioreg", &arguments)?);
    if lines.rows.is_empty() && lines.bad.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this host shows no disk",
        ));
    }
    let sum = |counters: Vec<u64>| counters.into_iter().fold(0, u64::saturating_add);
    let gap = |bad| {
        Error::new(
            ErrorKind::Malformed,
            "ioreg printed a line that cannot be read",
        )
        .because(bad)
    };
    Ok(Partial {
        value: DiskIo {
            read_bytes: sum(lines.rows.iter().map(|disk| disk.read_bytes).collect()),
            write_bytes: sum(lines.rows.iter().map(|disk| disk.write_bytes).collect()),
        },
        gaps: lines.bad.into_iter().map(gap).collect(),
    })
}
