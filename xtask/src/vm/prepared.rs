//! A kernel, ready to boot: what a machine needs of its packages, kept in the cache folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernels::Kernel;
use crate::archive::Suite;
use crate::command::{self, progress};
use crate::workspace;

/// What came out of a kernel's packages.
pub(crate) struct Prepared {
    pub(crate) kernel: &'static Kernel,
    /// `uname -r`
    pub(crate) release: String,
    /// Package and version, a line each.
    pub(crate) packages: String,
    pub(crate) image: PathBuf,
    /// In the order in which they are to be loaded.
    pub(crate) modules: Vec<PathBuf>,
}

impl Prepared {
    /// From the cache folder, or else downloaded; `update` asks for the newest.
    pub(crate) fn get(kernel: &'static Kernel, update: bool) -> Result<Self> {
        let kernels = workspace::cache()?.join("kernels");
        let folder = kernels.join(kernel.name);
        // A folder made for other modules is not what is needed.
        let complete = fs::read_to_string(folder.join("made-for"))
            .is_ok_and(|made_for| made_for == made_for_now(kernel));
        if update || !complete {
            prepare(kernel, &kernels, &folder)
                .with_context(|| format!("kernel {} cannot be fetched", kernel.name))?;
        }
        Self::read(kernel, &folder)
    }

    fn read(kernel: &'static Kernel, folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut modules: Vec<PathBuf> = fs::read_dir(folder.join("modules"))?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        modules.sort();
        Ok(Self {
            kernel,
            release: text("release")?,
            packages: text("packages")?,
            image: folder.join("vmlinuz"),
            modules,
        })
    }
}

/// What decides the contents of a kernel's folder.
fn made_for_now(kernel: &Kernel) -> String {
    format!(
        "{} {}: {}\n",
        kernel.suite,
        kernel.packages.join(" "),
        kernel.modules().collect::<Vec<_>>().join(" ")
    )
}

fn prepare(kernel: &'static Kernel, kernels: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(kernels).with_context(|| format!("cannot make {}", kernels.display()))?;
    let _lock = workspace::lock(&kernels.join("lock"))?;
    let suite = Suite::read(kernel.suite, kernel.architecture.debian)?;
    let partial = kernels.join(format!("{}.partial", kernel.name));
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    let root = partial.join("root");
    fs::create_dir_all(root.join("usr/lib"))?;
    // Older packages have /lib, newer ones /usr/lib.
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    let mut packages = String::new();
    for pattern in kernel.packages {
        let downloaded = suite.download(pattern, &partial)?;
        packages.push_str(&format!("{} {}\n", downloaded.package, downloaded.version));
        unpack(&downloaded.file, &root)?;
        fs::remove_file(&downloaded.file)?;
    }
    let of_user_mode = root.join("usr/lib/uml/modules");
    if of_user_mode.is_dir() {
        fs::rename(of_user_mode, root.join("usr/lib/modules"))?;
    }
    let release = only_entry(&root.join("usr/lib/modules"))?;
    let image = [
        root.join("usr/bin/linux.uml"),
        root.join("boot").join(format!("vmlinuz-{release}")),
        root.join("usr/lib/modules").join(&release).join("vmlinuz"),
    ];
    let image = image
        .iter()
        .find(|image| image.is_file())
        .context("its packages hold no vmlinuz")?;
    let made = partial.join("made");
    fs::create_dir_all(made.join("modules"))?;
    fs::rename(image, made.join("vmlinuz"))?;
    take_modules(kernel, &root, &release, &made.join("modules"))?;
    fs::write(made.join("release"), &release)?;
    fs::write(made.join("packages"), packages)?;
    fs::write(made.join("made-for"), made_for_now(kernel))?;
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(&made, folder)?;
    fs::remove_dir_all(&partial)?;
    progress(format!("kernel {}: {release}", kernel.name));
    Ok(())
}

/// Unpacks a package over `root`, in which `/lib` is a link.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    let archive = root.with_file_name("data.tar");
    let file = fs::File::create(&archive)?;
    command::run(
        Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(file),
    )?;
    command::run(
        Command::new("tar")
            .args(["--extract", "--keep-directory-symlink", "--directory"])
            .arg(root)
            .arg("--file")
            .arg(&archive),
    )?;
    Ok(fs::remove_file(&archive)?)
}

/// The modules that are wanted and those they need, decompressed and numbered in loading order.
fn take_modules(kernel: &Kernel, root: &Path, release: &str, to: &Path) -> Result<()> {
    command::output(
        Command::new(sbin("depmod"))
            .arg("-b")
            .arg(root)
            .arg(release),
    )?;
    let mut taken: Vec<PathBuf> = Vec::new();
    for module in kernel.modules() {
        let listed = command::output(
            Command::new(sbin("modprobe"))
                // Not this host's options and aliases.
                .args(["--config", "/dev/null", "--dirname"])
                .arg(root)
                .args(["--set-version", release, "--show-depends", module]),
        );
        let Ok(listed) = listed else {
            progress(format!("{release} has no module {module}"));
            continue;
        };
        for file in listed
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
        {
            let file = PathBuf::from(file.trim());
            if !taken.contains(&file) {
                let place = to.join(format!("{:02}-{}", taken.len(), stem(&file)));
                decompress(&file, &place)?;
                taken.push(file);
            }
        }
    }
    Ok(())
}

/// Such programs are not on a user's PATH.
fn sbin(program: &str) -> PathBuf {
    let found = command::on_path(program).into_iter().next();
    found.unwrap_or_else(|| Path::new("/sbin").join(program))
}

/// `tls` of `tls.ko.xz`.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn decompress(file: &Path, to: &Path) -> Result<()> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {
            fs::copy(file, to)?;
            return Ok(());
        }
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{} is compressed in an unknown way", file.display()),
    };
    let to = fs::File::create(to)?;
    let status = Command::new(program)
        .args(["--decompress", "--stdout"])
        .arg(file)
        .stdout(to)
        .status()
        .with_context(|| format!("could not start `{program}`"))?;
    if !status.success() {
        bail!("`{program}` cannot read {}", file.display());
    }
    Ok(())
}

fn only_entry(folder: &Path) -> Result<String> {
    let mut entries = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten();
    match (entries.next(), entries.next()) {
        (Some(only), None) => Ok(only.file_name().to_string_lossy().into_owned()),
        _ => bail!("{} has not exactly one entry", folder.display()),
    }
}
