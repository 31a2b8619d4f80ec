//! Finding what compiles and links for `bpfel-unknown-none`.
//!
//! Two kinds of compiler do: one that comes with `core` already built for that target (Debian's),
//! and one with the library's source (rustup's component rust-src), from which cargo builds `core`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The target that every kernel takes: BPF, little endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The linker's version that setup installs.
pub(crate) const BPF_LINKER: &str = "0.13.0";

const NO_COMPILER: &str = "\
no Rust compiler here builds for bpfel-unknown-none; install one:
  on Debian 12 (what the committed objects are built with), `cargo xtask setup`, or by hand
    apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev
    (from Debian's security suite, bookworm-security)
  with rustup
    rustup toolchain install nightly --component rust-src";

const NO_LINKER: &str = "\
bpf-linker is neither on PATH nor where `cargo install` puts programs; install it:
  on Debian 12, `cargo xtask setup`, or by hand
    apt-get install llvm-22-dev
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --no-default-features --features llvm-22 --locked
  elsewhere: the same with the LLVM that `rustc -vV` names, or a program from its releases";

/// A compiler, its `core`, and the linker.
pub(crate) struct BpfToolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    core: Core,
    /// As `rustc --version` prints it, without the word rustc.
    pub(crate) rustc_version: String,
    pub(crate) llvm_version: String,
    linker: PathBuf,
    pub(crate) linker_version: String,
}

enum Core {
    /// It comes with the compiler.
    Prebuilt,
    /// Cargo builds it from the source in this folder.
    FromSource(PathBuf),
}

impl BpfToolchain {
    /// The first that works, or an error that says what to install.
    pub(crate) fn find() -> Result<Self> {
        let (rustc, cargo, core) = compiler().context(NO_COMPILER)?;
        let linker = bpf_linker().context(NO_LINKER)?;
        let about = command::output(Command::new(&rustc).arg("-vV"))?;
        let field = |key: &str| about.lines().find_map(|line| line.strip_prefix(key));
        Ok(Self {
            rustc_version: field("rustc ")
                .context("rustc -vV says no version")?
                .to_owned(),
            llvm_version: field("LLVM version: ")
                .context("rustc -vV says no LLVM")?
                .to_owned(),
            linker_version: bpf_linker_version(&linker)?,
            rustc,
            cargo,
            core,
            linker,
        })
    }

    /// How `core` comes about, for the record.
    pub(crate) fn core_origin(&self) -> &'static str {
        match self.core {
            Core::Prebuilt => "prebuilt",
            Core::FromSource(_) => "from source",
        }
    }

    /// What to call the library's source in the objects, instead of where it lies here.
    pub(crate) fn remapped_library(&self) -> Result<Option<String>> {
        match &self.core {
            Core::FromSource(source) => {
                // Cargo follows the link that some packagers put there.
                let real = fs::canonicalize(source).context("cannot find the library's source")?;
                Ok(Some(format!("{}=rust", real.display())))
            }
            Core::Prebuilt => {
                let release = self.rustc_version.split(' ').next().unwrap_or_default();
                let source = format!("/usr/src/rustc-{release}");
                if Path::new(&source).exists() {
                    bail!(
                        "LLVM would quote lines of {source} in the objects, which would then differ from \
                         those built without it: `apt-get remove rust-web-src` first"
                    );
                }
                Ok(None)
            }
        }
    }

    /// Cargo with this compiler and linker, and no setting of the user's that changes the code.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut cargo = Command::new(&self.cargo);
        self.prepare(&mut cargo)?;
        Ok(cargo)
    }

    /// This compiler's own clippy, if it is installed.
    pub(crate) fn cargo_clippy(&self) -> Result<Command> {
        let clippy = self.rustc.with_file_name("cargo-clippy");
        if !clippy.is_file() {
            bail!(
                "the compiler for the kernel programs, {}, has no clippy beside it; install it: \
                 `apt-get install rust-web-clippy` on Debian 12, \
                 `rustup component add clippy --toolchain nightly` with rustup",
                self.rustc.display()
            );
        }
        let mut cargo = Command::new(clippy);
        cargo.env("CARGO", &self.cargo);
        self.prepare(&mut cargo)?;
        Ok(cargo)
    }

    /// The arguments that select the target.
    pub(crate) fn target_arguments(&self) -> &'static [&'static str] {
        match self.core {
            Core::Prebuilt => &["--target", TARGET],
            Core::FromSource(_) => &["--target", TARGET, "-Zbuild-std=core"],
        }
    }

    /// A folder name that differs whenever this toolchain does; cargo itself overlooks the linker.
    pub(crate) fn folder_name(&self) -> String {
        let release = self.rustc_version.split(' ').next().unwrap_or_default();
        format!("rustc-{release}-bpf-linker-{}", self.linker_version)
    }

    fn prepare(&self, cargo: &mut Command) -> Result<()> {
        cargo.current_dir(workspace::root()?);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let is_setting = [
                "CARGO_BUILD_",
                "CARGO_PROFILE_",
                "CARGO_TARGET_",
                "CARGO_UNSTABLE_",
            ]
            .iter()
            .any(|prefix| text.starts_with(prefix));
            if is_setting {
                cargo.env_remove(&name);
            }
        }
        for setting in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            // `cargo run` points it at another compiler's libraries.
            "LD_LIBRARY_PATH",
        ] {
            cargo.env_remove(setting);
        }
        cargo
            .env("RUSTC", &self.rustc)
            .env("RUSTC_WRAPPER", "")
            // The crate uses unstable features, and Debian's compiler is a stable release.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", path_with(&self.linker)?);
        Ok(())
    }
}

/// The linker on PATH, or where `cargo install` puts it.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    let installed = workspace::cargo_bin().map(|bin| bin.join("bpf-linker"));
    command::on_path("bpf-linker")
        .into_iter()
        .chain(installed)
        .find(|candidate| candidate.is_file())
}

/// As `bpf-linker --version` prints it, without the word bpf-linker.
pub(crate) fn bpf_linker_version(linker: &Path) -> Result<String> {
    let about = command::output(Command::new(linker).arg("--version"))?;
    Ok(about.trim().trim_start_matches("bpf-linker ").to_owned())
}

/// The compiler, the cargo to drive it, and how it comes by `core`.
fn compiler() -> Option<(PathBuf, PathBuf, Core)> {
    let mut candidates = command::on_path("rustc");
    candidates.push(PathBuf::from("/usr/bin/rustc"));
    let sysroots: Vec<PathBuf> = candidates
        .iter()
        .filter_map(|rustc| sysroot(&mut Command::new(rustc)))
        .collect();
    if let Some(found) = sysroots.iter().find(|sysroot| has_prebuilt_core(sysroot)) {
        return Some((found.join("bin/rustc"), workspace::cargo(), Core::Prebuilt));
    }
    let nightly = command::on_path("rustup").into_iter().find_map(|rustup| {
        let mut rustc = Command::new(rustup);
        rustc
            .args(["run", "nightly", "rustc"])
            .env("RUSTUP_AUTO_INSTALL", "0");
        sysroot(&mut rustc)
    });
    nightly.into_iter().chain(sysroots).find_map(|sysroot| {
        let source = library_source(&sysroot)?;
        let own_cargo = sysroot.join("bin/cargo");
        let cargo = if own_cargo.is_file() {
            own_cargo
        } else {
            workspace::cargo()
        };
        Some((sysroot.join("bin/rustc"), cargo, Core::FromSource(source)))
    })
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let printed = command::output(rustc.args(["--print", "sysroot"])).ok()?;
    let sysroot = PathBuf::from(printed.trim_end());
    sysroot.join("bin/rustc").is_file().then_some(sysroot)
}

fn has_prebuilt_core(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
    })
}

/// The library's source, where rustup puts it.
fn library_source(sysroot: &Path) -> Option<PathBuf> {
    let source = sysroot.join("lib/rustlib/src/rust");
    let core = source.join("library/core/Cargo.toml");
    core.is_file().then_some(source)
}

fn path_with(program: &Path) -> Result<OsString> {
    let folder = program.parent().map(Path::to_path_buf);
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(folder.into_iter().chain(env::split_paths(&path)))
        .context("a folder on PATH has a colon in its name")
}
