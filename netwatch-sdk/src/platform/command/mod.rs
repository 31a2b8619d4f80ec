//! Runs the host's own programs: an argument list, never a shell.

use std::{
    env,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{Error, ErrorKind, Result};

/// Where administrators' tools are when `PATH` leaves them out.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);
const DEFAULT_OUTPUT_LIMIT: u64 = 64 << 20;
/// How often an exit is looked for once the output has ended.
const EXIT_POLL: Duration = Duration::from_millis(2);

/// Finds programs and runs them with `LC_ALL=C`, no standard input, a time
/// limit and an output limit. Whatever it starts, it ends and reaps.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    directories: Vec<PathBuf>,
    time_limit: Duration,
    output_limit: u64,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Default for Runner {
    fn default() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path)
            .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
            // A relative entry would run what lies in the current folder.
            .filter(|directory| directory.is_absolute());
        Self::in_directories(directories)
    }
}

impl Runner {
    /// Looks for programs only in these directories.
    pub(crate) fn in_directories(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            directories: directories.into_iter().collect(),
            time_limit: DEFAULT_TIME_LIMIT,
            output_limit: DEFAULT_OUTPUT_LIMIT,
        }
    }

    /// The same, but what it starts is ended after `limit`.
    #[must_use]
    pub(crate) fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Where `program` is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Missing`] when no directory has it.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf> {
        self.directories
            .iter()
            .map(|directory| directory.join(program))
            .find(|path| is_executable(path))
            .ok_or_else(|| Error::new(ErrorKind::Missing, format!("no program {program}")))
    }

    /// Standard output of a program that succeeded.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`ErrorKind::Io`] with what it said on
    /// standard error when it ends with another status than 0.
    pub(crate) fn stdout(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = self.run(program, arguments)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default().trim();
        Err(Error::new(
            ErrorKind::Io,
            format!("{program} ended with {}: {first}", output.status),
        ))
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// [`Missing`](ErrorKind::Missing), [`Permission`](ErrorKind::Permission),
    /// [`TimedOut`](ErrorKind::TimedOut), [`Malformed`](ErrorKind::Malformed)
    /// when it prints too much, [`Io`](ErrorKind::Io).
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let deadline = Instant::now() + self.time_limit;
        let mut command = Command::new(self.find(program)?);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |cause| Error::io(format!("run {program}"), cause);
        let mut running = Running(command.spawn().map_err(failed)?);
        let stdout = read_capped(running.0.stdout.take(), self.output_limit).map_err(failed)?;
        let stderr = read_capped(running.0.stderr.take(), self.output_limit).map_err(failed)?;

        let timed_out = || {
            let limit = self.time_limit;
            Error::new(ErrorKind::TimedOut, format!("{program} ran over {limit:?}"))
        };
        let collect = |stream: mpsc::Receiver<io::Result<Vec<u8>>>| {
            let rest = deadline.saturating_duration_since(Instant::now());
            let bytes = stream
                .recv_timeout(rest)
                .map_err(|_| timed_out())?
                .map_err(failed)?;
            if bytes.len() as u64 > self.output_limit {
                let limit = self.output_limit;
                let what = format!("{program} printed more than {limit} bytes");
                return Err(Error::new(ErrorKind::Malformed, what));
            }
            Ok(bytes)
        };
        let stdout = collect(stdout)?;
        let stderr = collect(stderr)?;
        loop {
            if let Some(status) = running.0.try_wait().map_err(failed)? {
                return Ok(Output {
                    status,
                    stdout,
                    stderr,
                });
            }
            if Instant::now() >= deadline {
                return Err(timed_out());
            }
            thread::sleep(EXIT_POLL);
        }
    }
}

/// A started program, ended and reaped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // Not yet reaped, so its id is still its own, and so is its group.
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.0.id()) {
            let group = nix::unistd::Pid::from_raw(group);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a stream to its end on a thread, because a full pipe would block the program.
fn read_capped(
    stream: Option<impl Read + Send + 'static>,
    limit: u64,
) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let Some(stream) = stream else {
        let _ = sender.send(Ok(Vec::new()));
        return Ok(receiver);
    };
    thread::Builder::new()
        .name("netwatch-pipe".into())
        .spawn(move || {
            let mut bytes = Vec::new();
            let outcome = stream.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            let _ = sender.send(outcome.map(|_| bytes));
        })?;
    Ok(receiver)
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
