//! A machine under software emulation: boots a kernel, runs a program in it, and gives the lines that it reports.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::busybox;
use super::cpio::Archive;
use super::prepared::Prepared;

const CONSOLE_LINES: usize = 25;

/// What a machine is made of.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Prepared,
    /// What its files are called, after the kernel.
    pub(crate) name: String,
    /// A program that needs no library; `/program` in the machine.
    pub(crate) program: &'a Path,
    /// What is done in it once it is up, by busybox's shell. Its `$REPORTS` is where lines go.
    pub(crate) script: &'static str,
    /// What the script finds in its environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) clock: Clock,
    /// Where its files and its console's output are left.
    pub(crate) folder: &'a Path,
    pub(crate) limit: Duration,
}

/// What a machine's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's.
    Host,
    /// That of its only processor, a nanosecond an instruction: the same work takes the same time.
    Instructions,
}

impl Machine<'_> {
    /// What runs first in it.
    pub(super) const INIT: &'static str = include_str!("init");

    /// What the kernel and the program printed.
    pub(crate) fn console(&self) -> PathBuf {
        self.file("log")
    }

    fn file(&self, kind: &str) -> PathBuf {
        let kernel = self.kernel.kernel.name;
        self.folder.join(format!("{kernel}-{}.{kind}", self.name))
    }

    /// Runs it to its end. Each line that the program reports goes to `each`.
    pub(crate) fn run(&self, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let initrd = self.initrd()?;
        let started = Instant::now();
        let mut command = self.command(&initrd)?;
        let mut running = Running(command.spawn().context("cannot start it")?);
        let reports = running.0.stdout.take().context("it has no output")?;
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
        let status = running.0.wait().context("it was lost")?;
        let _ = fs::remove_file(&initrd);
        if !status.success() {
            bail!("it failed: {status}");
        }
        Ok(())
    }

    /// The end of the console's output, for an error.
    pub(crate) fn last_words(&self) -> String {
        let path = self.console();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(CONSOLE_LINES);
        let last = lines.get(from..).unwrap_or_default().join("\n  ");
        format!("the end of {}:\n  {last}", path.display())
    }

    fn command(&self, initrd: &Path) -> Result<Command> {
        // It ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        match self.kernel.kernel.architecture.qemu {
            Some(qemu) => self.emulated(command.arg(qemu), initrd),
            None => self.as_program(&mut command, initrd)?,
        }
        Ok(command)
    }

    fn emulated(&self, command: &mut Command, initrd: &Path) {
        command
            // With a thread for each processor, QEMU before 8.1 now and then runs code that another processor
            // has replaced, and the kernel panics ("int3") where it patches itself.
            .args(["-accel", "tcg,thread=single,tb-size=256"])
            .args(match self.clock {
                Clock::Host => &["-smp", "2"][..],
                Clock::Instructions => &["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"],
            })
            .args(["-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-no-reboot")
            .args(["-chardev", "stdio,id=reports,signal=off"])
            .arg("-serial")
            .arg(format!("file:{}", self.console().display()))
            .args(self.kernel.kernel.architecture.machine)
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .arg("-append")
            .arg(format!("oops=panic {}", self.kernel_line()));
    }

    /// User Mode Linux.
    fn as_program(&self, command: &mut Command, initrd: &Path) -> Result<()> {
        let console = File::create(self.console())
            .with_context(|| format!("cannot make {}", self.console().display()))?;
        command
            .arg(&self.kernel.image)
            .arg("mem=1024M")
            .arg(format!("initrd={}", initrd.display()))
            .arg("root=/dev/ram0")
            .arg(format!("uml_dir={}/", self.folder.display()))
            .args(self.kernel.kernel.architecture.machine)
            .args(self.kernel_line().split(' '))
            // Where its memory is, in a file without a name.
            .env("TMPDIR", self.folder)
            .stderr(console);
        Ok(())
    }

    /// What the kernel does not know goes into the environment of its first program.
    pub(super) fn kernel_line(&self) -> String {
        let architecture = self.kernel.kernel.architecture;
        // Attaching to functions waits for grace periods of RCU, which are long where little runs.
        let mut line = format!(
            "console={} quiet panic=-1 rcupdate.rcu_expedited=1 REPORTS=/dev/{}",
            architecture.console, architecture.reports
        );
        for (name, value) in &self.variables {
            line.push_str(&format!(" {name}={value}"));
        }
        line
    }

    /// Its first file system: busybox, the modules, the program.
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
        let busybox = busybox::get(self.kernel.kernel.architecture)?;
        archive.file("bin/busybox", &read(&busybox)?)?;
        archive.file("program", &read(self.program)?)?;
        archive.file("script", self.script.as_bytes())?;
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
