//! Debian packages: which are missing, and installing or downloading them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, progress};

/// A package and the oldest version that will do.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) at_least: Option<&'static str>,
}

/// Whether this host has Debian's package tools.
pub(crate) fn is_here() -> bool {
    !command::on_path("apt-get").is_empty() && !command::on_path("dpkg-query").is_empty()
}

/// Those that are not installed, or too old.
pub(crate) fn missing(packages: &[Package]) -> Result<Vec<&'static str>> {
    // It exits 1 when it knows nothing of one of them; what it does print is right all the same.
    let query = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${Package}\t${db:Status-Status}\t${Version}\n",
        ])
        .args(packages.iter().map(|package| package.name))
        .output()
        .context("could not start `dpkg-query`")?;
    let listed = String::from_utf8_lossy(&query.stdout);
    let mut missing = Vec::new();
    for package in packages {
        let installed = listed.lines().any(|line| {
            let mut fields = line.split('\t');
            fields.next() == Some(package.name)
                && fields.next() == Some("installed")
                && fields
                    .next()
                    .is_some_and(|version| is_at_least(version, package.at_least))
        });
        if !installed {
            missing.push(package.name);
        }
    }
    Ok(missing)
}

/// Installs them, refreshing the package lists first.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    progress(format!("installing {}", packages.join(" ")));
    let update = update();
    let install = command::run(
        as_root("apt-get")?
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(packages),
    );
    match (install, update) {
        (Ok(()), _) => Ok(()),
        (Err(install), Err(update)) => Err(install.context(update)),
        (Err(install), Ok(())) => Err(install.context(
            "apt could not install what is needed; rustc-web, libstd-rust-web-dev-bpf and llvm-22-dev \
             come from Debian 12's security suite (bookworm-security), which must be among its sources",
        )),
    }
}

/// Installs those of them that are missing.
pub(crate) fn require(packages: &[&'static str]) -> Result<()> {
    let packages: Vec<Package> = packages
        .iter()
        .map(|name| Package {
            name,
            at_least: None,
        })
        .collect();
    let missing = missing(&packages)?;
    if missing.is_empty() {
        Ok(())
    } else {
        install(&missing)
    }
}

/// The version that apt would install.
pub(crate) fn candidate(package: &str) -> Result<String> {
    let known = || -> Result<Option<String>> {
        let policy = command::output(Command::new("apt-cache").args(["policy", package]))?;
        let candidate = policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "));
        Ok(candidate
            .filter(|version| *version != "(none)")
            .map(str::to_owned))
    };
    if let Some(version) = known()? {
        return Ok(version);
    }
    update()?;
    known()?.with_context(|| {
        format!("apt knows no {package}: it needs Debian 12's security suite (bookworm-security)")
    })
}

/// Downloads package files into `folder` without installing them; needs no privilege.
pub(crate) fn download<'a>(
    packages: impl IntoIterator<Item = &'a String>,
    folder: &Path,
) -> Result<()> {
    let mut download = Command::new("apt-get");
    download
        .args(["download", "--quiet"])
        .args(packages)
        .current_dir(folder);
    if command::run(&mut download).is_ok() {
        return Ok(());
    }
    // The lists may be older than what the archive now has.
    update()?;
    command::run(&mut download)
}

fn update() -> Result<()> {
    command::run(as_root("apt-get")?.args(["update", "--quiet"]))
}

/// A command with root's rights: directly, or by sudo.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    const QUIET: (&str, &str) = ("DEBIAN_FRONTEND", "noninteractive");
    if command::is_root() {
        let mut command = Command::new(program);
        command.env(QUIET.0, QUIET.1);
        return Ok(command);
    }
    let Some(sudo) = command::on_path("sudo").into_iter().next() else {
        bail!("`{program}` needs root, and there is no sudo here: run this task as root");
    };
    let mut command = Command::new(sudo);
    command
        .arg("env")
        .arg(format!("{}={}", QUIET.0, QUIET.1))
        .arg(program);
    Ok(command)
}

fn is_at_least(version: &str, bound: Option<&str>) -> bool {
    bound.is_none_or(|bound| {
        Command::new("dpkg")
            .args(["--compare-versions", version, "ge", bound])
            .status()
            .is_ok_and(|status| status.success())
    })
}
