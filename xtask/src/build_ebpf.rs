//! `cargo xtask build-ebpf`: the kernel programs, compiled to the objects that the SDK embeds.
//!
//! The objects are committed, so they must come out the same on any machine with the same
//! toolchain: no path of the machine reaches them, and `--check` compares them byte for byte.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bpf_toolchain::BpfToolchain;
use crate::command::progress;
use crate::metadata::{self, Metadata};
use crate::{bpf_object, bpf_toolchain, command, workspace};

/// One object each: a kprobe reads its arguments from registers, and those differ.
pub(crate) const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
/// The arguments that select the program and how it is compiled.
pub(crate) const PROGRAM: [&str; 6] = [
    "--package",
    "netwatch-ebpf",
    "--bin",
    "netwatch",
    "--profile",
    "bpf",
];
/// Where they are committed, from the workspace's root.
const OBJECTS: &str = "netwatch-sdk/src/backend/ebpf/object";
const RECORD: &str = "toolchain.txt";

/// Build the kernel programs into the objects that the SDK embeds
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask build-ebpf           after a change in netwatch-ebpf or netwatch-common; commit the result
  cargo xtask build-ebpf --check   fail unless the committed objects are what the source gives

The objects and a record of the toolchain are written to netwatch-sdk/src/backend/ebpf/object.")]
pub(crate) struct BuildEbpf {
    /// Write nothing; fail unless the result is what is committed, byte for byte
    #[arg(long)]
    pub(crate) check: bool,
}

impl BuildEbpf {
    pub(crate) fn run(&self) -> Result<()> {
        let toolchain = BpfToolchain::find()?;
        let metadata = metadata::read(self.check)?;
        let record = record(&toolchain, &metadata)?;
        let mut objects = Vec::new();
        for architecture in ARCHITECTURES {
            objects.push((architecture, build(&toolchain, &metadata, architecture)?));
        }
        if self.check {
            compare(&objects, &record)
        } else {
            write(&objects, &record)
        }
    }
}

/// Flags for every crate of the build.
pub(crate) fn rust_flags(
    toolchain: &BpfToolchain,
    metadata: &Metadata,
    architecture: &str,
) -> Result<String> {
    let mut flags = vec![
        "--cfg".to_owned(),
        format!("bpf_target_arch=\"{architecture}\""),
        "-Clink-arg=--btf".to_owned(),
        // The workspace becomes `.`, where LLVM finds the source lines that the BTF quotes.
        format!("--remap-path-prefix={}=.", workspace::root()?.display()),
    ];
    for package in metadata
        .packages
        .iter()
        .filter(|package| !package.is_member())
    {
        flags.push(format!(
            "--remap-path-prefix={}=crates/{}-{}",
            package.folder().display(),
            package.name,
            package.version
        ));
    }
    let library = toolchain.remapped_library()?;
    flags.extend(library.map(|library| format!("--remap-path-prefix={library}")));
    Ok(flags.join("\u{1f}"))
}

/// Where cargo builds. Cargo leaves the flags out of its file names when paths are remapped,
/// so architectures that shared a folder would rebuild each other's crates.
pub(crate) fn target_folder(toolchain: &BpfToolchain, architecture: &str) -> Result<PathBuf> {
    let ebpf = workspace::target()?.join("ebpf");
    Ok(ebpf.join(toolchain.folder_name()).join(architecture))
}

fn build(toolchain: &BpfToolchain, metadata: &Metadata, architecture: &str) -> Result<Vec<u8>> {
    progress(format!("building the kernel programs for {architecture}"));
    let folder = target_folder(toolchain, architecture)?;
    let mut cargo = toolchain.cargo()?;
    cargo
        .arg("build")
        .args(PROGRAM)
        .args(toolchain.target_arguments())
        .arg("--target-dir")
        .arg(&folder)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rust_flags(toolchain, metadata, architecture)?,
        );
    command::run(&mut cargo)?;
    let linked = folder.join(bpf_toolchain::TARGET).join("bpf/netwatch");
    let linked = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    bpf_object::without_debug_sections(&linked)
}

/// What decides the bytes, a line each, and nothing of this machine.
fn record(toolchain: &BpfToolchain, metadata: &Metadata) -> Result<String> {
    let aya_ebpf = metadata
        .packages
        .iter()
        .find(|package| package.name == "aya-ebpf")
        .context("the workspace does not depend on aya-ebpf")?;
    Ok(format!(
        "rustc {}\nLLVM {}\ncore {}\nbpf-linker {}\naya-ebpf {}\n",
        toolchain.rustc_version,
        toolchain.llvm_version,
        toolchain.core_origin(),
        toolchain.linker_version,
        aya_ebpf.version
    ))
}

fn object_path(architecture: &str) -> String {
    format!("{OBJECTS}/netwatch.{architecture}.o")
}

fn write(objects: &[(&str, Vec<u8>)], record: &str) -> Result<()> {
    let root = workspace::root()?;
    fs::create_dir_all(root.join(OBJECTS)).with_context(|| format!("cannot make {OBJECTS}"))?;
    let record_path = format!("{OBJECTS}/{RECORD}");
    let objects = objects
        .iter()
        .map(|(name, bytes)| (object_path(name), bytes.as_slice()));
    for (path, bytes) in objects.chain([(record_path, record.as_bytes())]) {
        let file = root.join(&path);
        if fs::read(&file).is_ok_and(|present| present == bytes) {
            progress(format!("{path}: unchanged"));
            continue;
        }
        fs::write(&file, bytes).with_context(|| format!("cannot write {path}"))?;
        progress(format!("{path}: written, {} bytes", bytes.len()));
    }
    Ok(())
}

fn compare(objects: &[(&str, Vec<u8>)], record: &str) -> Result<()> {
    let root = workspace::root()?;
    let mut differences = Vec::new();
    for (architecture, bytes) in objects {
        let path = object_path(architecture);
        match fs::read(root.join(&path)) {
            Ok(committed) if committed == *bytes => {
                progress(format!("{path}: what the source gives"));
            }
            Ok(committed) => differences.push(format!(
                "  {path} differs: {} bytes committed, {} built",
                committed.len(),
                bytes.len()
            )),
            Err(error) => differences.push(format!("  {path} cannot be read: {error}")),
        }
    }
    let recorded = fs::read_to_string(root.join(OBJECTS).join(RECORD)).unwrap_or_default();
    if differences.is_empty() && recorded == record {
        return Ok(());
    }
    if recorded == record {
        bail!(
            "the committed objects are not what the source gives:\n{}\n\
             run `cargo xtask build-ebpf` and commit the result",
            differences.join("\n")
        );
    }
    if differences.is_empty() {
        differences.push("  the objects are the same; only the record differs".to_owned());
    }
    bail!(
        "the committed objects were built with another toolchain, so this comparison says nothing:\n{}\n\
         recorded in {OBJECTS}/{RECORD}:\n{}here:\n{}\
         either install what is recorded (`cargo xtask setup` does on Debian 12), \
         or rebuild with this one: `cargo xtask build-ebpf`, and commit the result",
        differences.join("\n"),
        indented(&recorded),
        indented(record)
    );
}

fn indented(text: &str) -> String {
    if text.is_empty() {
        return "  nothing\n".to_owned();
    }
    text.lines().map(|line| format!("  {line}\n")).collect()
}
