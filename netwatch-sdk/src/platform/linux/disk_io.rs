//! `/proc/diskstats` and `/sys/block`: traffic of whole disks.

use std::{collections::HashSet, fs, path::Path};

use super::{Host, gaps};
use crate::{Error, ErrorKind, Result, parse::diskstats, platform::Partial, wire::DiskIo};

const DISKSTATS: &str = "proc/diskstats";
const BLOCK: &str = "sys/block";

/// The bytes that whole disks read and wrote since boot.
///
/// Partitions are part of their disk; what is built on disks (LVM, LUKS,
/// RAID, loop devices) or in memory (zram) is counted in the disks or not at all.
pub(crate) fn read_disk_io(host: &Host) -> Result<Partial<DiskIo>> {
    let disks = read_whole_disks(host)?;
    if disks.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this host shows no disk",
        ));
    }
    let lines = diskstats::parse_devices(&host.read(DISKSTATS)?);
    let mut total = DiskIo {
        read_bytes: 0,
        write_bytes: 0,
    };
    for device in lines
        .rows
        .iter()
        .filter(|device| disks.contains(&device.name))
    {
        total.read_bytes = total.read_bytes.saturating_add(device.read_bytes);
        total.write_bytes = total.write_bytes.saturating_add(device.write_bytes);
    }
    Ok(Partial {
        gaps: gaps(host, DISKSTATS, &lines),
        value: total,
    })
}

fn read_whole_disks(host: &Host) -> Result<HashSet<String>> {
    let names = host.list(BLOCK)?;
    let is_disk = |name: &String| is_disk(&host.path(BLOCK).join(name));
    Ok(names
        .into_iter()
        .filter(is_disk)
        // The kernel writes the slash of `cciss/c0d0` as `!` in a folder's name.
        .map(|name| name.replace('!', "/"))
        .collect())
}

/// Whether an entry of `/sys/block` stands for a disk: most virtual devices
/// are built on something else, and a network disk (`nbd0`) is not.
fn is_disk(entry: &Path) -> bool {
    let Ok(place) = fs::canonicalize(entry) else {
        return false;
    };
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let virtual_block = place
        .parent()
        .is_some_and(|parent| parent.ends_with("virtual/block"));
    !virtual_block || name.starts_with("nbd")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::platform::Runner;

    fn host(diskstats: &str, devices: &[&str]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(root.path().join(DISKSTATS), diskstats).unwrap();
        fs::create_dir_all(root.path().join(BLOCK)).unwrap();
        for device in devices {
            let place = root.path().join("sys/devices").join(device);
            fs::create_dir_all(&place).unwrap();
            symlink(
                &place,
                root.path().join(BLOCK).join(place.file_name().unwrap()),
            )
            .unwrap();
        }
        let host = Host::at(root.path(), Runner::in_directories([]));
        (root, host)
    }

    #[test]
    fn only_whole_disks_count_once() {
        let (_root, host) = host(
            " 8 0 sda 1 0 100 0 1 0 10 0 0 0 0\n\
             \x208 1 sda1 1 0 60 0 1 0 6 0 0 0 0\n\
             253 0 dm-0 1 0 100 0 1 0 10 0 0 0 0\n\
             9 0 md0 1 0 100 0 1 0 10 0 0 0 0\n\
             7 0 loop0 1 0 50 0 1 0 5 0 0 0 0\n\
             254 0 zram0 1 0 50 0 1 0 5 0 0 0 0\n\
             259 0 nvme0n1 1 0 1000 0 1 0 2000 0 0 0 0\n\
             43 0 nbd0 1 0 10000 0 1 0 20000 0 0 0 0\n\
             104 0 cciss/c0d0 1 0 100000 0 1 0 200000 0 0 0 0\n",
            &[
                "pci0000:00/0000:00:02.0/ata1/block/sda",
                "virtual/block/dm-0",
                "virtual/block/md0",
                "virtual/block/loop0",
                "virtual/block/zram0",
                "virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
                "virtual/block/nbd0",
                "pci0000:00/cciss0/block/cciss!c0d0",
            ],
        );
        let total = read_disk_io(&host).unwrap();
        assert_eq!(total.value.read_bytes, 111_100 * 512);
        assert_eq!(total.value.write_bytes, 222_010 * 512);
        assert!(total.gaps.is_empty());
    }

    #[test]
    fn a_bad_line_is_a_gap_and_a_missing_file_an_error() {
        let (root, host) = host(" 8 0 sda\n", &["pci0/block/sda"]);
        assert_eq!(read_disk_io(&host).unwrap().gaps.len(), 1);
        fs::remove_file(root.path().join(DISKSTATS)).unwrap();
        assert_eq!(read_disk_io(&host).unwrap_err().kind(), ErrorKind::Missing);
    }

    #[test]
    fn a_host_without_disks_says_so_instead_of_zero() {
        let (_root, host) = host(
            " 7 0 loop0 1 0 50 0 1 0 5 0 0 0 0\n",
            &["virtual/block/loop0"],
        );
        assert_eq!(
            read_disk_io(&host).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn this_hosts_disks_are_those_that_sysfs_counts() {
        let host = Host::default();
        let Ok(before) = read_disk_io(&host) else {
            eprintln!("skipped: no block devices here");
            return;
        };
        let mut read_bytes = 0;
        for name in read_whole_disks(&host).unwrap() {
            let stat = fs::read_to_string(format!("/sys/block/{}/stat", name.replace('/', "!")));
            let sectors: u64 = stat
                .unwrap()
                .split_whitespace()
                .nth(2)
                .unwrap()
                .parse()
                .unwrap();
            read_bytes += sectors * 512;
        }
        let after = read_disk_io(&host).unwrap();
        assert!((before.value.read_bytes..=after.value.read_bytes).contains(&read_bytes));
    }
}
