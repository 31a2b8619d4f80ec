//! Where a host's files are, and how its programs are run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Runner;
use crate::{Error, Result};

/// The host that is read: this one, or in tests a folder that looks like one.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    root: PathBuf,
    pub(crate) runner: Runner,
}

impl Default for Host {
    fn default() -> Self {
        Self::at("/", Runner::default())
    }
}

impl Host {
    pub(crate) fn at(root: impl Into<PathBuf>, runner: Runner) -> Self {
        Self {
            root: root.into(),
            runner,
        }
    }

    /// The place of `path`, which is written without a leading slash.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = self.path(path);
        fs::read(&path).map_err(|cause| Error::io(format!("read {}", path.display()), cause))
    }

    /// Like [`read`](Self::read), but `None` when there is no such file.
    pub(crate) fn read_if_present(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
        match self.read(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == crate::ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a folder, sorted.
    pub(crate) fn list(&self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = self.path(path);
        let failed = |cause: io::Error| Error::io(format!("list {}", path.display()), cause);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }
}
