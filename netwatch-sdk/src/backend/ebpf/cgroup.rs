//! The cgroup v2 hierarchy: where it is mounted, and which path an id stands for.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use procfs::process::Process;

use crate::{Error, ErrorKind, Result};

/// Where cgroup v2 is mounted; `/sys/fs/cgroup`, or below it on a hybrid host.
pub(super) fn root() -> Result<PathBuf> {
    let unreadable =
        |error| Error::new(ErrorKind::Io, "/proc/self/mountinfo cannot be read").because(error);
    let mounts = Process::myself()
        .and_then(|process| process.mountinfo())
        .map_err(unreadable)?;
    let mut hidden = None;
    let mut has_v1 = false;
    for mount in mounts {
        match mount.fs_type.as_str() {
            "cgroup2" => match statfs(&mount.mount_point) {
                Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => {
                    return Ok(mount.mount_point);
                }
                _ => hidden = Some(mount.mount_point),
            },
            "cgroup" => has_v1 = true,
            _ => {}
        }
    }
    let why = match hidden {
        Some(path) => format!(
            "cgroup v2 at {} is hidden under another mount",
            path.display()
        ),
        // At /sys/fs/cgroup it would hide the others.
        None if has_v1 => {
            "only cgroup v1 is mounted; v2 can be beside it (mkdir -p /run/cgroup2 && \
                           mount -t cgroup2 none /run/cgroup2)"
                .to_owned()
        }
        None => "no cgroup v2 is mounted (mount -t cgroup2 none /sys/fs/cgroup)".to_owned(),
    };
    Err(Error::new(ErrorKind::Missing, why))
}

/// Paths of cgroups by id. Reads the hierarchy again when it meets a new id.
#[derive(Debug, Default)]
pub(super) struct CgroupPaths {
    root: PathBuf,
    known: HashMap<u64, Option<String>>,
}

impl CgroupPaths {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
        }
    }

    /// The path below the root, `/` for the root itself; `None` when the cgroup was
    /// gone before it was looked up.
    pub(super) fn get(&mut self, id: u64) -> Option<&str> {
        if id == 0 {
            return None;
        }
        if !self.known.contains_key(&id) {
            self.known.retain(|_, path| path.is_some());
            let root = self.root.clone();
            self.walk(&root, &mut String::new(), 0);
            self.known.entry(id).or_insert(None);
        }
        self.known.get(&id)?.as_deref()
    }

    fn walk(&mut self, directory: &Path, path: &mut String, depth: usize) {
        const MAX_DEPTH: usize = 64;
        let Ok(metadata) = fs::metadata(directory) else {
            return;
        };
        let name = if path.is_empty() { "/" } else { path.as_str() };
        self.known.insert(metadata.ino(), Some(name.to_owned()));
        // Two links and one for each child.
        if depth == MAX_DEPTH || metadata.nlink() == 2 {
            return;
        }
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let length = path.len();
                path.push('/');
                path.push_str(&entry.file_name().to_string_lossy());
                self.walk(&entry.path(), path, depth + 1);
                path.truncate(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_for_the_path_with_that_inode() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("system.slice/some.service");
        fs::create_dir_all(&child).unwrap();
        let id = fs::metadata(&child).unwrap().ino();
        let mut paths = CgroupPaths::new(root.path().to_owned());
        assert_eq!(paths.get(id), Some("/system.slice/some.service"));
        let id = fs::metadata(root.path()).unwrap().ino();
        assert_eq!(paths.get(id), Some("/"));
        assert_eq!(paths.get(u64::MAX), None);
        assert_eq!(paths.get(0), None);
    }
}
