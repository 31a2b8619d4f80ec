//! Stand-in for the collector's API until it exists. Starting it says so, so
//! that the traffic shapes can be checked against themselves meanwhile.

use netwatch_sdk::{reading::Reading, wire::Snapshot};

#[derive(Debug)]
pub(crate) struct Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Permission,
    Unsupported,
    Missing,
}

impl Error {
    pub(crate) fn kind(&self) -> ErrorKind {
        ErrorKind::Unsupported
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the eBPF backend does not exist yet")
    }
}

impl std::error::Error for Error {}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend {
    Ebpf,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Builder;

impl Builder {
    pub(crate) fn backend(self, _: Backend) -> Self {
        self
    }
    pub(crate) fn max_processes(self, _: u32) -> Self {
        self
    }
    pub(crate) fn max_shared(self, _: u32) -> Self {
        self
    }
    pub(crate) fn closed_buffer_bytes(self, _: u32) -> Self {
        self
    }
    pub(crate) fn start(self) -> Result<Collector, Error> {
        Err(Error)
    }
}

#[derive(Debug)]
pub(crate) struct Collector;

impl Collector {
    pub(crate) fn builder() -> Builder {
        Builder
    }
    pub(crate) fn read(&self) -> Result<Reading, Error> {
        Err(Error)
    }
    pub(crate) fn reader(&self) -> Reader {
        Reader
    }
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

#[derive(Debug)]
pub(crate) struct Reader;

impl Reader {
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        Err(Error)
    }
}
