//! A compiler for another target: the one in use, when it has that target's library, and otherwise
//! Debian's, unpacked into the cache folder. The library beside it is Debian's too where there is
//! one, and else checked there, which is enough to check code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::archive::Suite;
use crate::command::{self, progress};
use crate::{debian, workspace};

/// The suite that Debian's compiler comes from.
const SUITE: &str = "bookworm-security";
/// The targets that Debian has the library for, and what it calls them.
const BUILT: [(&str, &str); 1] = [("aarch64-unknown-linux-gnu", "arm64")];

/// What compiles for a target.
pub(crate) enum Toolchain {
    /// The cargo that runs this task.
    InUse,
    /// The root that Debian's packages were unpacked into.
    Unpacked(PathBuf),
}

impl Toolchain {
    pub(crate) fn for_target(target: &str) -> Result<Self> {
        let sysroot = command::output(
            Command::new("rustc")
                .args(["--print", "sysroot"])
                .current_dir(workspace::root()?),
        )?;
        if has_library(Path::new(sysroot.trim_end()), target) {
            return Ok(Self::InUse);
        }
        if !debian::is_here() {
            bail!("the Rust in use has no library for {target}: `rustup target add {target}`");
        }
        let cache = workspace::cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Another clone may be making it.
        let _lock = workspace::lock(&cache.join("lock"))?;
        let toolchain = with_library(target).with_context(|| {
            format!(
                "without Debian's compiler for {target}, `rustup target add {target}` does as well"
            )
        })?;
        Ok(Self::Unpacked(toolchain))
    }

    /// `cargo`, to be given its arguments.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut cargo = workspace::cargo_command()?;
        if let Self::Unpacked(root) = self {
            prepare(&mut cargo, root)?;
            // Not among what the compiler in use made.
            let folder = workspace::target()?.join("cross");
            cargo.env("CARGO_TARGET_DIR", folder);
        }
        Ok(cargo)
    }

    /// `cargo clippy`, to be given its arguments.
    pub(crate) fn cargo_clippy(&self) -> Result<Command> {
        match self {
            Self::InUse => {
                let mut clippy = workspace::cargo_command()?;
                clippy.arg("clippy");
                Ok(clippy)
            }
            Self::Unpacked(root) => {
                let mut clippy = Command::new(root.join("usr/bin/cargo-clippy"));
                prepare(&mut clippy, root)?;
                clippy.arg("clippy").current_dir(workspace::root()?);
                clippy
                    .arg("--target-dir")
                    .arg(workspace::target()?.join("check-targets"));
                Ok(clippy)
            }
        }
    }
}

/// Whether there is a library to link with.
fn has_library(sysroot: &Path, target: &str) -> bool {
    has_file(sysroot, target, ".rlib")
}

fn has_file(sysroot: &Path, target: &str, extension: &str) -> bool {
    fs::read_dir(libraries(sysroot, target)).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(extension)
        })
    })
}

/// Where a compiler looks for a target's library.
fn libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

/// Points cargo at the unpacked compiler. A compiler finds its sysroot by its own library, which
/// must therefore not be the installed one of the same name.
fn prepare(cargo: &mut Command, root: &Path) -> Result<()> {
    cargo
        .env("CARGO", workspace::cargo())
        .env("RUSTC", root.join("usr/bin/rustc"))
        .env("LD_LIBRARY_PATH", compiler_libraries(root)?)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTC_WRAPPER", "");
    Ok(())
}

/// The folder with librustc_driver, `usr/lib/<multiarch>`.
fn compiler_libraries(root: &Path) -> Result<PathBuf> {
    let lib = root.join("usr/lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot list {}", lib.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|folder| folder.to_string_lossy().ends_with("-linux-gnu"))
        .with_context(|| format!("no compiler libraries in {}", lib.display()))
}

/// The root of Debian's current compiler, with a library for the target.
fn with_library(target: &str) -> Result<PathBuf> {
    let version = debian::candidate("rustc-web")?;
    let root = unpacked(&version)?;
    match BUILT.iter().find(|(built, _)| *built == target) {
        Some((_, architecture)) => take_library(&root, target, architecture, &version)?,
        None => check_library(&root, target)?,
    }
    Ok(root)
}

/// The root of Debian's compiler, clippy and library source, unpacked once per version.
fn unpacked(version: &str) -> Result<PathBuf> {
    let upstream = version.split('+').next().unwrap_or(version);
    let minor = upstream
        .rsplit_once('.')
        .map_or(upstream, |(minor, _)| minor);
    let folder = workspace::cache()?.join(format!("rust-web-{version}"));
    let root = folder.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    progress(format!(
        "unpacking Debian's Rust {upstream} into {}",
        folder.display()
    ));
    debian::require(&["libllvm22"])?;
    let partial = folder.join("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial).context("cannot clear an unfinished unpacking")?;
    }
    let unpacked = partial.join("root");
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
    let packages = [
        "rustc-web",
        "libstd-rust-web-dev",
        "rust-web-clippy",
        "rust-web-src",
    ]
    .map(str::to_owned);
    let standard_library = format!("libstd-rust-web-{minor}");
    debian::download(packages.iter().chain([&standard_library]), &partial)?;
    for entry in fs::read_dir(&partial)?.flatten() {
        let file = entry.path();
        if file.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("rust-web-src_")
        {
            unpack_library_source(&file, upstream, &unpacked)?;
        } else {
            command::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&file)
                    .arg(&unpacked),
            )?;
        }
        fs::remove_file(&file)?;
    }
    fs::rename(&unpacked, &root).context("cannot put the unpacked compiler in place")?;
    fs::remove_dir_all(&partial).context("cannot clear what the unpacking left")?;
    Ok(root)
}

/// The source package is the whole compiler; only the library is wanted.
fn unpack_library_source(package: &Path, upstream: &str, root: &Path) -> Result<()> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start `dpkg-deb`")?;
    let contents = archive.stdout.take().context("`dpkg-deb` has no output")?;
    let unpacked = command::run(
        Command::new("tar")
            .arg("--extract")
            .arg("--directory")
            .arg(root)
            .arg(format!("./usr/src/rustc-{upstream}/library"))
            .arg("./usr/lib")
            .stdin(contents),
    );
    let packed = archive.wait().context("`dpkg-deb` was lost")?;
    unpacked?;
    if !packed.success() {
        bail!(
            "`dpkg-deb --fsys-tarfile {}` failed: {packed}",
            package.display()
        );
    }
    Ok(())
}

/// Puts the library that Debian built for another processor where the compiler looks. It has to be
/// of the very same version.
fn take_library(root: &Path, target: &str, architecture: &str, version: &str) -> Result<()> {
    let sysroot = root.join("usr");
    if has_library(&sysroot, target) {
        return Ok(());
    }
    let folder = root.with_file_name("partial");
    if folder.is_dir() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let downloaded = Suite::read(SUITE, architecture)?.download("libstd-rust-web-dev", &folder)?;
    if downloaded.version != version {
        bail!(
            "Debian's library for {architecture} is of version {}, its compiler of {version}",
            downloaded.version
        );
    }
    command::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&downloaded.file)
            .arg(&folder),
    )?;
    let place = libraries(&sysroot, target);
    // One that was only checked.
    if place.is_dir() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(place.parent().context("a library is in a folder")?)?;
    fs::rename(libraries(&folder.join("usr"), target), &place)
        .context("cannot put the library in place")?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// Checks the standard library for a target and puts its metadata, all that a check reads, where
/// the compiler looks.
fn check_library(root: &Path, target: &str) -> Result<()> {
    let sysroot = root.join("usr");
    if has_file(&sysroot, target, ".rmeta") {
        return Ok(());
    }
    progress(format!("checking the standard library for {target}, once"));
    let folder = root.with_file_name("library");
    let source = folder.join("src");
    fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    fs::write(source.join("lib.rs"), "")?;
    fs::write(
        folder.join("Cargo.toml"),
        "[package]\nname = \"empty\"\nedition = \"2024\"\n\n[workspace]\n",
    )?;
    let built = folder.join("target");
    let mut cargo = Command::new(workspace::cargo());
    prepare(&mut cargo, root)?;
    command::run(
        cargo
            .args([
                "check",
                "--quiet",
                "-Zbuild-std=std,panic_abort,proc_macro,test",
            ])
            .args(["--target", target])
            .arg("--target-dir")
            .arg(&built)
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(&folder),
    )?;
    let partial = folder.join("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let metadata = built.join(target).join("debug/deps");
    for entry in fs::read_dir(&metadata)?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rmeta") && !text.starts_with("libempty-") {
            fs::copy(entry.path(), partial.join(&name))?;
        }
    }
    let place = libraries(&sysroot, target);
    fs::create_dir_all(place.parent().context("a library is in a folder")?)?;
    fs::rename(&partial, place).context("cannot put the checked library in place")?;
    fs::remove_dir_all(&built).context("cannot clear the library's build folder")
}
