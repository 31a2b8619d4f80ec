//! `/proc/self/mountinfo` and `statvfs`: space on this host's own storage.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::statvfs::statvfs};

use super::{Host, gaps};
use crate::{
    Error, Result,
    parse::mountinfo::{self, Mount},
    platform::{Partial, file_system::Space},
    wire::DiskUsage,
};

const MOUNTINFO: &str = "proc/self/mountinfo";
/// Storage without a block device number of its own. Every other file system
/// without one is memory, the kernel's, another host's or a program's; to ask
/// those of other hosts and programs can block for ever.
const STORAGE_WITHOUT_DEVICE: [&str; 6] = ["9p", "bcachefs", "btrfs", "ubifs", "virtiofs", "zfs"];
/// Images: always full, and their file is on a file system that is counted.
const IMAGES: [&str; 4] = ["cramfs", "erofs", "iso9660", "squashfs"];
const OVERLAY: &str = "overlay";

/// Each file system of this host's storage once, where its path is shortest.
pub(crate) fn read_file_systems(host: &Host) -> Result<Partial<Vec<DiskUsage>>> {
    let lines = mountinfo::parse_mounts(&host.read(MOUNTINFO)?);
    let mut usages = Partial {
        gaps: gaps(host, MOUNTINFO, &lines),
        value: Vec::new(),
    };
    let mut overlaid = Vec::new();
    for mount in counted_once(lines.rows) {
        let size = match read_size(host, &mount) {
            Ok(size) => size,
            Err(gap) => {
                usages.gaps.push(gap);
                continue;
            }
        };
        if mount.kind == OVERLAY {
            overlaid.push(size.identity());
        } else if overlaid.contains(&size.identity()) {
            // The storage under a container's root, mounted again for a file or folder of it.
            continue;
        }
        if size.space.total > 0 {
            let mount_point = String::from_utf8_lossy(&mount.mount_point).into_owned();
            usages
                .value
                .push(size.space.usage(mount_point, mount.source));
        }
    }
    Ok(usages)
}

/// The mounts to ask: one for each file system, shortest path first.
fn counted_once(mounts: Vec<Mount>) -> Vec<Mount> {
    // A mount hides what was mounted before at the same path.
    let mut visible = HashMap::new();
    for mount in mounts {
        visible.insert(mount.mount_point.clone(), mount);
    }
    let mut mounts: Vec<_> = visible.into_values().filter(is_storage).collect();
    mounts.sort_by_cached_key(|mount| {
        let path = mount.mount_point.clone();
        (path.len(), path)
    });
    let mut seen = Vec::new();
    mounts.retain(|mount| {
        let new = !seen.contains(&mount.device);
        seen.push(mount.device);
        new
    });
    mounts
}

fn is_storage(mount: &Mount) -> bool {
    let (major, _) = mount.device;
    if mount.kind == OVERLAY {
        // Any other overlay is a container's, on storage that is counted.
        return mount.mount_point == b"/";
    }
    let kind = mount.kind.as_str();
    (major != 0 && !IMAGES.contains(&kind)) || STORAGE_WITHOUT_DEVICE.contains(&kind)
}

fn below_root(path: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path));
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

struct Size {
    space: Space,
    inodes: u64,
}

impl Size {
    /// An overlay answers with the figures of the file system it writes to.
    const fn identity(&self) -> (u64, u64) {
        (self.space.total, self.inodes)
    }
}

fn read_size(host: &Host, mount: &Mount) -> Result<Size> {
    let path = host.path(below_root(&mount.mount_point));
    let stat = loop {
        match statvfs(&path) {
            Err(Errno::EINTR) => {}
            answer => break answer,
        }
    };
    let failed = |cause: Errno| Error::io(format!("statvfs {}", path.display()), cause.into());
    let stat = stat.map_err(failed)?;
    // The widths of these types differ between C libraries.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let bytes =
        |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.fragment_size() as u64);
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let inodes = stat.files() as u64;
    Ok(Size {
        space: Space {
            total: bytes(stat.blocks()),
            free: bytes(stat.blocks_free()),
            available: bytes(stat.blocks_available()),
        },
        inodes,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn counted(mountinfo: &str) -> Vec<String> {
        let lines = mountinfo::parse_mounts(mountinfo.as_bytes());
        assert_eq!(lines.bad, []);
        counted_once(lines.rows)
            .iter()
            .map(|mount| String::from_utf8_lossy(&mount.mount_point).into_owned())
            .collect()
    }

    #[test]
    fn a_file_system_mounted_twice_counts_once_at_the_shorter_path() {
        let mounts = "\
            1 0 8:2 /home /srv/exports/home rw - ext4 /dev/sda2 rw\n\
            2 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
            3 0 8:2 / /home rw - ext4 /dev/sda2 rw\n\
            4 0 8:1 /etc/hosts /chroot/etc/hosts rw - ext4 /dev/sda1 rw\n";
        assert_eq!(counted(mounts), ["/", "/home"]);
    }

    #[test]
    fn subvolumes_of_one_btrfs_count_once() {
        let mounts = "\
            1 0 0:30 /@ / rw - btrfs /dev/nvme0n1p2 rw\n\
            2 1 0:30 /@home /home rw - btrfs /dev/nvme0n1p2 rw\n";
        assert_eq!(counted(mounts), ["/"]);
    }

    #[test]
    fn memory_images_other_hosts_and_programs_are_no_storage() {
        let mounts = "\
            1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
            2 1 0:22 / /proc rw - proc proc rw\n\
            3 1 0:23 / /tmp rw - tmpfs tmpfs rw\n\
            4 1 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n\
            5 1 0:40 / /mnt/nfs rw - nfs4 server:/export rw\n\
            6 1 0:41 / /mnt/ssh rw - fuse.sshfs user@server: rw\n\
            7 1 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
            8 1 8:3 / /mnt/windows rw - fuseblk /dev/sda3 rw\n\
            9 1 0:43 / /tank rw - zfs tank rw\n";
        assert_eq!(counted(mounts), ["/", "/tank", "/mnt/windows"]);
    }

    #[test]
    fn the_root_overlay_of_a_container_counts() {
        let mounts = "\
            1 0 0:99 / / rw - overlay overlay rw\n\
            2 1 8:1 /var/lib/docker/volumes/v /data rw - ext4 /dev/sda1 rw\n";
        assert_eq!(counted(mounts), ["/", "/data"]);
    }

    #[test]
    fn a_mount_over_another_hides_it() {
        let mounts = "\
            1 0 8:1 / /mnt rw - ext4 /dev/sda1 rw\n\
            2 0 8:2 / /mnt rw - ext4 /dev/sda2 rw\n";
        let lines = mountinfo::parse_mounts(mounts.as_bytes());
        let counted = counted_once(lines.rows);
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].source, "/dev/sda2");
    }

    #[test]
    fn this_hosts_root_is_what_df_shows() {
        let host = Host::default();
        let usages = read_file_systems(&host).unwrap();
        let Some(root) = usages.value.iter().find(|usage| usage.mount_point == "/") else {
            eprintln!("skipped: no storage at /");
            return;
        };
        let df = Command::new("df")
            .args(["-B1", "-P", "/"])
            .output()
            .unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        let columns: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let number = |column: usize| columns[column].parse::<u64>().unwrap();
        assert_eq!(root.total_bytes, number(1));
        // Other programs write meanwhile.
        let near = |a: u64, b: u64| a.abs_diff(b) < 1 << 30;
        assert!(near(root.used_bytes, number(2)), "{root:?} {text}");
        assert!(near(root.available_bytes, number(3)), "{root:?} {text}");
        let percent: f64 = columns[4].trim_end_matches('%').parse().unwrap();
        assert!((root.usage_pct - percent).abs() <= 1.5, "{root:?} {text}");
    }
}
