//! The program that a machine has besides the tests: Debian's busybox, for its processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::architecture::{AMD64, Architecture};
use crate::archive::Suite;
use crate::{command, workspace};

/// This host's, or else one that is kept in the cache folder.
pub(super) fn get(architecture: &Architecture) -> Result<PathBuf> {
    if architecture.target == AMD64.target {
        return Ok(PathBuf::from("/bin/busybox"));
    }
    let kernels = workspace::cache()?.join("kernels");
    let place = kernels.join(format!("busybox-{}", architecture.debian));
    fs::create_dir_all(&kernels).with_context(|| format!("cannot make {}", kernels.display()))?;
    let _lock = workspace::lock(&kernels.join("lock"))?;
    if !place.is_file() {
        fetch(architecture, &place)
            .with_context(|| format!("busybox for {} cannot be fetched", architecture.debian))?;
    }
    Ok(place)
}

fn fetch(architecture: &Architecture, place: &Path) -> Result<()> {
    let partial = place.with_extension("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let downloaded =
        Suite::read("bookworm", architecture.debian)?.download("busybox-static", &partial)?;
    command::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&downloaded.file)
            .arg(&partial),
    )?;
    fs::rename(partial.join("bin/busybox"), place).context("its package holds no busybox")?;
    Ok(fs::remove_dir_all(&partial)?)
}
