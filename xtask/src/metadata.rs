//! What `cargo metadata` says of the workspace and its dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{command, workspace};

/// The workspace's packages and everything they depend on.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// `None` for a member of this workspace.
    source: Option<String>,
    manifest_path: PathBuf,
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    kind: Vec<String>,
}

impl Package {
    pub(crate) fn is_member(&self) -> bool {
        self.source.is_none()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Target {
    /// A file or folder of `tests/`.
    pub(crate) fn is_integration_test(&self) -> bool {
        self.kind.iter().any(|kind| kind == "test")
    }
}

/// Reads it, downloading what is missing; `locked` refuses to change Cargo.lock.
pub(crate) fn read(locked: bool) -> Result<Metadata> {
    let mut metadata = Command::new(workspace::cargo());
    metadata
        .args(["metadata", "--format-version", "1"])
        .current_dir(workspace::root()?);
    if locked {
        metadata.arg("--locked");
    }
    let json = command::output(&mut metadata)?;
    serde_json::from_str(&json).context("`cargo metadata` printed something unexpected")
}
