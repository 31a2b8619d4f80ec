//! What traffic processes say about themselves: one JSON event a line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    edges::child::{Report, Started},
    events::attempt::Attempt,
};

/// One line of a traffic process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Others may send to these addresses.
    Ready { addresses: Vec<SocketAddr> },
    /// So many more processes will write to the same pipe.
    Expect { more: usize },
    /// A process that moves bytes or owns a socket.
    Process(ProcessTruth),
    /// What one process did with one socket.
    Moved(Moved),
    /// Connections that a process made, tried or accepted.
    Attempts { attempts: Vec<Attempt> },
    /// What the kernel says of one TCP connection.
    Tcp(TcpInfo),
    /// The process waits for the word to go on.
    Paused { at: String },
    /// A collector was started, or not.
    Started(Started),
    /// What that collector reported of processes.
    Reported(Report),
    /// This process has said everything.
    Done { pid: u32 },
    /// The shape cannot run on this host.
    Unavailable { reason: String },
    /// The process could not do its part.
    Failed { reason: String },
}

/// A process as it sees itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessTruth {
    pub(crate) pid: u32,
    /// Field 22 of `/proc/self/stat`, in clock ticks since boot.
    pub(crate) started_ticks: u64,
    /// `/proc/self/comm`.
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// Inode of its network namespace.
    pub(crate) netns: u64,
    /// `true` when it lives until the test lets it go.
    pub(crate) stays: bool,
}

/// How a process came by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Claim {
    /// It made it, or was the first to move payload on one that was accepted.
    Owner,
    /// Another process owns it.
    Guest,
    /// Accepted, and nobody moved payload on it.
    Unclaimed,
}

/// Which way a TCP socket came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    Outgoing,
    Incoming,
    Listening,
    /// Neither, or not for the collector to know.
    Untold,
}

/// What one process moved on one socket, by the return values of its calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) pid: u32,
    /// `SO_COOKIE`.
    pub(crate) cookie: u64,
    /// `SO_PROTOCOL`.
    pub(crate) protocol: u16,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) tx: u64,
    pub(crate) rx: u64,
    pub(crate) claim: Claim,
    pub(crate) way: Way,
    /// `false` where the kernel forgets the addresses before anyone can ask.
    pub(crate) addressed: bool,
    /// `true` when it stays open until the test lets its process go.
    pub(crate) held: bool,
}

/// The kernel's own figures of a connection, from `TCP_INFO`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TcpInfo {
    pub(crate) cookie: u64,
    pub(crate) rtt_us: u32,
    pub(crate) variation_us: u32,
    pub(crate) min_rtt_us: u32,
    pub(crate) retransmits: u64,
}

/// Which socket. Its cookie; but the kernel gives the sockets that a multipath TCP
/// listener accepts the cookie of the listener, so those go by their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Cookie(u64),
    Addresses(SocketAddr, Option<SocketAddr>),
}

impl Key {
    pub(crate) fn new(
        cookie: u64,
        protocol: u16,
        local: SocketAddr,
        remote: Option<SocketAddr>,
    ) -> Self {
        match protocol {
            262 => Self::Addresses(local, remote),
            _ => Self::Cookie(cookie),
        }
    }
}

impl Moved {
    pub(crate) fn key(&self) -> Key {
        Key::new(self.cookie, self.protocol, self.local, self.remote)
    }
}

/// What all traffic processes of one run said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    pub(crate) processes: Vec<ProcessTruth>,
    pub(crate) moved: Vec<Moved>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) connections: Vec<TcpInfo>,
}

impl Truth {
    pub(crate) fn add(&mut self, event: Event) {
        match event {
            Event::Process(process) => self.processes.push(process),
            Event::Moved(moved) => self.moved.push(moved),
            Event::Attempts { attempts } => self.attempts.extend(attempts),
            Event::Tcp(info) => self.connections.push(info),
            _ => {}
        }
    }

    /// Adds what the processes of another run said.
    pub(crate) fn add_all(&mut self, other: Self) {
        self.processes.extend(other.processes);
        self.moved.extend(other.moved);
        self.attempts.extend(other.attempts);
        self.connections.extend(other.connections);
    }

    /// Bytes (sent, received) of one process.
    pub(crate) fn of(&self, pid: u32) -> (u64, u64) {
        sum(self.moved.iter().filter(|moved| moved.pid == pid))
    }

    /// Bytes (sent, received) of all processes.
    pub(crate) fn total(&self) -> (u64, u64) {
        sum(self.moved.iter())
    }
}

pub(crate) fn sum<'a>(moved: impl Iterator<Item = &'a Moved>) -> (u64, u64) {
    moved.fold((0, 0), |(tx, rx), one| (tx + one.tx, rx + one.rx))
}
