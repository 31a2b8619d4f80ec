//! Running programs: argument lists, never a shell; an error names the whole command.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, bail};

/// Says on stderr what is being done.
pub(crate) fn progress(what: impl AsRef<str>) {
    eprintln!("xtask: {}", what.as_ref());
}

/// Says on stderr what went wrong, outermost first.
pub(crate) fn report(error: &Error) {
    for cause in error.chain() {
        progress(format!("error: {cause}"));
    }
}

/// Runs to the end with its output shown; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    progress(format!("$ {}", line(command)));
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs to the end and gives its standard output; errors carry what it said on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something other than UTF-8", line(command)))
}

/// Every program of that name on PATH, first one first.
pub(crate) fn on_path(program: impl AsRef<OsStr>) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program.as_ref()))
        .filter(|candidate| candidate.is_file())
        .collect()
}

/// Whether this runs as root, by the owner of its own /proc entry.
pub(crate) fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }
    #[cfg(not(target_os = "linux"))]
    false
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
