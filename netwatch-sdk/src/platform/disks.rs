//! Space on file systems where `sysinfo` knows them best: macOS and Windows.

use sysinfo::{DiskRefreshKind, Disks};

use super::{Host, Partial, file_system::Space};
use crate::{Error, ErrorKind, Result, wire::DiskUsage};

/// Every local volume that a person would see. `sysinfo` tells no used space
/// apart from what is not available, so the two add up to the total.
pub(crate) fn read_file_systems(_: &Host) -> Result<Partial<Vec<DiskUsage>>> {
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage())
        .map_err(|cause| Error::new(ErrorKind::Unsupported, "list disks").because(cause))?;
    let usage = |disk: &sysinfo::Disk| {
        let space = Space {
            total: disk.total_space(),
            free: disk.available_space(),
            available: disk.available_space(),
        };
        let mount_point = disk.mount_point().to_string_lossy().into_owned();
        let device = disk.name().to_string_lossy().into_owned();
        space.usage(mount_point, device)
    };
    let storage = disks.iter().filter(|disk| disk.total_space() > 0);
    Ok(Partial::complete(storage.map(usage).collect()))
}
