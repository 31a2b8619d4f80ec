//! Debian's archive, any suite of it, from the mirrors that this host's apt uses.
//!
//! The lists of packages are kept apart from the host's own, which stay as they are; no
//! privilege is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, progress};
use crate::workspace;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite's list of packages for one processor.
pub(crate) struct Suite {
    options: Vec<String>,
    name: &'static str,
    /// Another clone may be reading it.
    _lock: fs::File,
}

/// A package file that was downloaded.
pub(crate) struct Downloaded {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) file: PathBuf,
}

impl Suite {
    /// Reads the suite's list into the cache folder. `architecture` is Debian's name of it.
    pub(crate) fn read(name: &'static str, architecture: &str) -> Result<Self> {
        progress(format!(
            "reading the package list of {name}, {architecture}"
        ));
        let lists = workspace::cache()?.join("apt");
        let folder = lists.join(format!("{name}-{architecture}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = workspace::lock(&folder.join("lock"))?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let sources = folder.join("sources.list");
        let mirror = mirror(name)?;
        fs::write(
            &sources,
            format!("deb [arch={architecture} signed-by={KEYS}] {mirror} {name} main\n"),
        )?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", folder.join("lists").display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
            "Dir::State::status=/dev/null".to_owned(),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        let suite = Self {
            options: options
                .into_iter()
                .flat_map(|option| ["-o".to_owned(), option])
                .collect(),
            name,
            _lock: lock,
        };
        command::output(suite.apt("apt-get").args(["--quiet", "update"])).with_context(|| {
            format!("cannot read the package list of {name} from the mirror that apt uses here")
        })?;
        Ok(suite)
    }

    /// The newest package of that name, in which `*` stands for the version.
    fn newest(&self, pattern: &str) -> Result<String> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(pattern.to_owned());
        };
        let names = command::output(self.apt("apt-cache").args(["pkgnames", before]))?;
        let versions = names.lines().filter_map(|name| {
            let version = name.strip_prefix(before)?.strip_suffix(after)?;
            is_version(version).then_some((numbers(version), name))
        });
        let (_, package) = versions
            .max()
            .with_context(|| format!("{} has no package {pattern}", self.name))?;
        Ok(package.to_owned())
    }

    /// Downloads the newest package of that name, in which `*` stands for the version.
    pub(crate) fn download(&self, pattern: &str, folder: &Path) -> Result<Downloaded> {
        let package = self.newest(pattern)?;
        progress(format!("downloading {package} of {}", self.name));
        let shown =
            command::output(
                self.apt("apt-cache")
                    .args(["show", "--no-all-versions", &package]),
            )?;
        let version = shown
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .with_context(|| format!("{package} has no version"))?;
        command::output(
            self.apt("apt-get")
                .args(["--quiet", "download", &package])
                .current_dir(folder),
        )
        .with_context(|| format!("cannot download {package} from the mirror that apt uses here"))?;
        let file = fs::read_dir(folder)?
            .flatten()
            .find(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
            })
            .with_context(|| format!("apt did not leave {package} in {}", folder.display()))?
            .path();
        Ok(Downloaded {
            package,
            version: version.to_owned(),
            file,
        })
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.args(&self.options);
        apt
    }
}

/// Where this host's apt gets Debian itself, or its security updates, from.
fn mirror(suite: &str) -> Result<String> {
    let known = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE)",
        "Created-By: Packages",
    ]))?;
    let security = suite.ends_with("-security");
    known
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, release)| match security {
            true => release.ends_with("-security"),
            false => !release.contains('-'),
        })
        .map(|(site, _)| site.to_owned())
        .with_context(|| {
            let what = if security { " security updates" } else { "" };
            format!("apt has no mirror of Debian's{what} here (run `apt-get update`), and {suite} comes from one")
        })
}

/// Of the release itself, not of a flavour: `6.12.117+deb12`, `46`.
fn is_version(text: &str) -> bool {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let (release, rest) = text.split_once("+deb").unwrap_or((text, ""));
    !release.is_empty() && digits(release) && digits(rest)
}

/// The numbers of a version, in the order in which versions are compared.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{is_version, numbers};

    #[test]
    fn versions_are_told_from_flavours() {
        for version in ["46", "6.12.117+deb12", "15+deb13", "4+deb13.1"] {
            assert!(is_version(version), "{version}");
        }
        for other in ["", "0.deb11.52", "unsigned-7", "rt-6"] {
            assert!(!is_version(other), "{other}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("6.12.107+deb12") > numbers("6.12.99+deb12"));
        assert!(numbers("4+deb13.1") > numbers("4+deb13"));
    }
}
