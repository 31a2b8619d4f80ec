//! What a collector without kernel programs reported, over all its readings.

use std::collections::HashMap;

use anyhow::{Context, Result};
use netwatch_sdk::{
    Backend, Collector, Reader,
    reading::{Attribution, Process, Protocol, Reading, Socket, SocketId, SocketState},
};

use crate::{
    observe::{Who, who},
    truth::Moved,
};

/// A collector with a backend of our choice, and what it has reported.
pub(crate) struct Watcher {
    pub(crate) backend: Backend,
    reader: Reader,
    pub(crate) seen: Seen,
}

/// Sockets and processes as they were last reported.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    sockets: HashMap<SocketId, Socket>,
    processes: HashMap<Who, Process>,
}

impl Watcher {
    pub(crate) fn start(backend: Backend) -> Result<Self> {
        let collector = Collector::builder().backend(backend).start();
        let collector = collector.with_context(|| format!("start {backend:?}"))?;
        Ok(Self {
            backend,
            reader: collector.reader(),
            seen: Seen::default(),
        })
    }

    /// Takes one reading and adds it to what was seen before.
    pub(crate) fn read(&mut self) -> Result<&Seen> {
        let reading = self.reader.read();
        let reading = reading.with_context(|| format!("read {:?}", self.backend))?;
        self.seen.add(reading);
        Ok(&self.seen)
    }
}

impl Seen {
    fn add(&mut self, reading: Reading) {
        for process in reading.processes {
            if let Attribution::Process(id) = process.id {
                self.processes.insert(who(id), process);
            }
        }
        let rows = reading.closed.into_iter().chain(reading.open);
        for socket in rows.filter(|socket| !is_remnant(socket)) {
            self.sockets.insert(socket.id, socket);
        }
    }

    /// The row of a socket. A multipath TCP socket is seen as the TCP socket below it.
    pub(crate) fn socket(&self, moved: &Moved) -> Option<&Socket> {
        if moved.protocol != 262 {
            return self.sockets.get(&SocketId(moved.cookie));
        }
        self.sockets.values().find(|socket| {
            let ends = (socket.local, socket.remote);
            socket.protocol == Protocol::Tcp && ends == (moved.local, moved.remote)
        })
    }

    pub(crate) fn process(&self, who: Who) -> Option<&Process> {
        self.processes.get(&who)
    }
}

/// What the kernel keeps of a TCP connection after its socket: it has the socket's cookie.
fn is_remnant(socket: &Socket) -> bool {
    matches!(socket.state, SocketState::TimeWait | SocketState::FinWait2)
        && socket.payload.is_none()
}
