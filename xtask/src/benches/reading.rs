//! A process that takes readings when it is told to, and says what each cost.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netwatch_sdk::{Backend, Collector, Reader};
use serde::{Deserialize, Serialize};

use crate::clock;

/// What to read.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// `Reader::read()`
    Typed,
    /// `Reader::network()`
    Network,
    /// `Reader::snapshot()`
    Snapshot,
    /// The same, written as JSON.
    Json,
}

/// What a reading cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) sockets: usize,
}

impl Cost {
    fn of(work: impl FnOnce() -> Result<usize>) -> Result<Self> {
        let (began, used) = (Instant::now(), clock::with_children()?);
        let sockets = work()?;
        Ok(Self {
            elapsed: began.elapsed(),
            cpu: clock::with_children()?.saturating_sub(used),
            sockets,
        })
    }
}

/// The process.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// From the call of `Collector::start` to the end of the first reading.
    pub(crate) start: Cost,
}

impl Process {
    pub(crate) fn start() -> Result<Self> {
        Self::with("ebpf")
    }

    /// With a backend of `Backend::ALL`.
    pub(crate) fn with(backend: &str) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["read", backend])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the reader has no output")?;
        let mut output = BufReader::new(output);
        Ok(Self {
            start: receive(&mut output)?,
            child,
            input,
            output,
        })
    }

    pub(crate) fn read(&mut self, kind: Kind) -> Result<Cost> {
        let input = self.input.as_mut().context("the reader has no input")?;
        serde_json::to_writer(&mut *input, &kind)?;
        input.write_all(b"\n")?;
        receive(&mut self.output)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn receive(output: &mut BufReader<ChildStdout>) -> Result<Cost> {
    let mut line = String::new();
    ensure!(output.read_line(&mut line)? != 0, "the reader ended");
    Ok(serde_json::from_str(&line)?)
}

fn send(cost: Cost) -> Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, &cost)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

/// The process's own side.
pub(crate) fn serve(backend: &str) -> Result<()> {
    let known = Backend::ALL.iter().find(|(name, _)| *name == backend);
    let (_, backend) = known.context("there is no such backend")?;
    let mut reader: Option<Reader> = None;
    send(Cost::of(|| {
        let collector = Collector::builder().backend(*backend).start()?;
        Ok(reader.insert(collector.reader()).read()?.open.len())
    })?)?;
    let Some(mut reader) = reader else {
        bail!("there is no collector");
    };
    for line in io::stdin().lock().lines() {
        let kind = serde_json::from_str(&line?)?;
        let rows = |snapshot: &netwatch_sdk::wire::Snapshot| {
            snapshot.connections.as_ref().map_or(0, Vec::len)
        };
        send(Cost::of(|| {
            Ok(match kind {
                Kind::Typed => reader.read()?.open.len(),
                Kind::Network => rows(&reader.network()?),
                Kind::Snapshot => rows(&reader.snapshot()?),
                Kind::Json => {
                    let snapshot = reader.snapshot()?;
                    // As the command writes it.
                    let null = File::create("/dev/null")?;
                    let mut output = BufWriter::with_capacity(64 << 10, null);
                    serde_json::to_writer(&mut output, &snapshot)?;
                    output.flush()?;
                    rows(&snapshot)
                }
            })
        })?)?;
    }
    Ok(())
}
