//! Where this workspace lies, and where tasks may leave things.

use std::env;
use std::path::PathBuf;
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
