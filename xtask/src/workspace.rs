//! Where this workspace lies, and where tasks may leave things.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The folder of the workspace's Cargo.toml.
pub(crate) fn root() -> Result<PathBuf> {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .context("run this as `cargo xtask …`, which tells it where the workspace is")?;
    let root = xtask
        .parent()
        .context("the xtask package has no folder above it")?;
    Ok(root.to_path_buf())
}

/// The folder below which tasks build.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(root()?.join("target"))
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// That cargo, in the workspace.
pub(crate) fn cargo_command() -> Result<Command> {
    let mut command = Command::new(cargo());
    command.current_dir(root()?);
    Ok(command)
}

/// Where `cargo install` puts programs, which need not be on PATH.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    Some(home.join("bin"))
}

/// What tasks download and unpack, for all clones of the workspace.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("there is neither XDG_CACHE_HOME nor a home folder to keep downloads in")?;
    Ok(cache.join("netwatch-xtask"))
}

/// Held while something in the cache is made or looked at: another clone may be making it.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}
