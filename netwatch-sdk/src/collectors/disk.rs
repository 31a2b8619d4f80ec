//! Space on file systems and traffic of disks.
//!
//! Each file system of this host's own storage counts once: not again for a
//! bind mount, a subvolume or a container's overlay. Memory, images, network
//! and program-backed file systems (tmpfs, squashfs, NFS, sshfs) do not count.
//! Traffic is that of whole disks. No privilege is needed.

use crate::{
    Result,
    platform::{self, Host},
};
pub use crate::{
    platform::Partial,
    wire::{DiskIo, DiskUsage},
};

/// Space on each file system, and why some could not be asked.
///
/// # Errors
///
/// When the list of mounts cannot be read.
pub fn read_disk_usage() -> Result<Partial<Vec<DiskUsage>>> {
    platform::read_file_systems(&Host::default())
}

/// Bytes that all disks moved since boot.
///
/// # Errors
///
/// When the counters cannot be read, and [`Unsupported`](crate::ErrorKind::Unsupported)
/// when this host shows no disk, as in many containers.
pub fn read_disk_io() -> Result<Partial<DiskIo>> {
    platform::read_disk_io(&Host::default())
}

/// Space on each file system that could be asked; [`read_disk_usage`] tells what is missing.
#[must_use]
pub fn collect_disk_usage() -> Vec<DiskUsage> {
    read_disk_usage().map_or_else(|_| Vec::new(), |usage| usage.value)
}

/// Bytes that all disks moved since boot; `None` where [`read_disk_io`] fails.
#[must_use]
pub fn collect_disk_io() -> Option<DiskIo> {
    read_disk_io().ok().map(|io| io.value)
}
