//! A machine under software emulation: boots a kernel, and gives the lines that its tests report.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::prepared::Prepared;

const CONSOLE_LINES: usize = 25;

/// How many tests at once: many of them wait, for a wire or for the collector.
const THREADS: u32 = 4;

/// What one machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The tests whose answer depends on the hook, with this one.
    Hook(&'static str),
    /// The others, with the best hook that the kernel has.
    Once(&'static str),
}

impl Part {
    pub(super) fn hook(self) -> &'static str {
        match self {
            Self::Hook(hook) | Self::Once(hook) => hook,
        }
    }

    /// What `NETWATCH_PART` calls it.
    pub(super) fn tests(self) -> &'static str {
        match self {
            Self::Hook(_) => "hook",
            Self::Once(_) => "once",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hook(hook) => hook,
            Self::Once(_) => "once",
        })
    }
}

/// What a machine is made of.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Prepared,
    pub(super) busybox: &'a Path,
    /// The live tests, as a program that needs no library.
    pub(super) tests: &'a Path,
    /// Which of them to run.
    pub(super) part: Part,
    /// Only tests whose name contains this.
    pub(super) test: Option<&'a str>,
    /// Where its files and its console's output are left.
    pub(super) folder: &'a Path,
    pub(super) limit: Duration,
}

impl Machine<'_> {
    /// What runs first in it.
    pub(super) const INIT: &'static str = include_str!("init");

    /// What the kernel and the tests printed.
    pub(super) fn console(&self) -> PathBuf {
        self.file("log")
    }

    fn file(&self, kind: &str) -> PathBuf {
        let kernel = self.kernel.kernel.name;
        self.folder.join(format!("{kernel}-{}.{kind}", self.part))
    }

    /// Runs it to its end. Each line that the tests report goes to `each`.
    pub(super) fn run(&self, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let initrd = self.initrd()?;
        let started = Instant::now();
        let mut running = Running(self.command(&initrd).spawn().context("cannot start QEMU")?);
        let reports = running.0.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        loop {
            let left = self.limit.saturating_sub(started.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) => each(line.trim_end())?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("not done after {} s", self.limit.as_secs())
                }
            }
        }
        let status = running.0.wait().context("QEMU was lost")?;
        let _ = fs::remove_file(&initrd);
        if !status.success() {
            bail!("QEMU failed: {status}");
        }
        Ok(())
    }

    /// The end of the console's output, for an error.
    pub(super) fn last_words(&self) -> String {
        let path = self.console();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(CONSOLE_LINES);
        let last = lines.get(from..).unwrap_or_default().join("\n  ");
        format!("the end of {}:\n  {last}", path.display())
    }

    fn command(&self, initrd: &Path) -> Command {
        let architecture = self.kernel.kernel.architecture;
        // It ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", architecture.qemu])
            // With a thread for each processor, QEMU before 8.1 now and then runs code that another processor
            // has replaced, and the kernel panics ("int3") where it patches itself.
            .args(["-accel", "tcg,thread=single,tb-size=256"])
            .args(["-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-no-reboot")
            .args(["-chardev", "stdio,id=reports,signal=off"])
            .arg("-serial")
            .arg(format!("file:{}", self.console().display()))
            .args(architecture.machine)
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .arg("-append")
            .arg(format!(
                "console={} quiet panic=-1 oops=panic REPORTS={} HOOK={} PART={} TEST={} THREADS={THREADS}",
                architecture.console,
                architecture.reports,
                self.part.hook(),
                self.part.tests(),
                self.test.unwrap_or_default(),
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    /// Its first file system: busybox, the modules, the tests.
    fn initrd(&self) -> Result<PathBuf> {
        fs::create_dir_all(self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let path = self.file("initrd");
        let mut archive = Archive::new(BufWriter::new(File::create(&path)?));
        for folder in ["bin", "dev", "modules"] {
            archive.folder(folder)?;
        }
        archive.character_device("dev/console", (5, 1))?;
        archive.file("init", Self::INIT.as_bytes())?;
        archive.file("bin/busybox", &read(self.busybox)?)?;
        archive.file("live", &read(self.tests)?)?;
        for module in &self.kernel.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("modules/{name}"), &read(module)?)?;
        }
        archive.finish()?;
        Ok(path)
    }
}

/// Ends with the run, by its own process id.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
