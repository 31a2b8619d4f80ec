//! Sockets by the command `ss` (iproute2), for hosts where netlink is refused to
//! this process but the tool works.
//!
//! - **TCP**: the same counters as the socket diagnostics give, see
//!   [`tcp_counters`](super::tcp_counters); with iproute2 before 5.0 sent bytes count
//!   once they are acknowledged.
//! - **UDP**: sockets and owners; payload `None`.
//! - An open socket's figures are exact. What a socket moved between its last
//!   reading and its end, and sockets that lived between two readings, are
//!   not seen, so every process's figures are a lower bound, or an estimate
//!   when it shared a socket.
//! - The network namespace of the calling thread only.
//!
//! Privileges: none, but root or `CAP_SYS_PTRACE` for the processes of other users.
//! Cost: a child process a reading, about 20 microseconds a socket.

mod socket;

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    os::unix::fs::MetadataExt,
    time::Instant,
};

use chrono::Utc;

use self::socket::{address, counters, direction, identity, is_remnant};
use super::{
    Measure,
    ledger::{Holder, Ledger, Since},
    roster::Roster,
    tcp_counters::{Fin, Measured, TcpCounters},
};
use crate::{
    Error, ErrorKind, Result,
    collector::{Packets, Status},
    parse::ss::{SsHolder, SsOutput, SsSocket, parse_ss},
    platform::owners::Owners,
    reading::{
        Accuracy, Attribution, Direction, Lost, Netns, Pid, ProcessId, Reading, Socket, SocketId,
        SocketState, Source,
    },
};

/// Arguments, newest first: one line a socket and no header (5.5), then what
/// every version takes.
const FORMS: [&[&str]; 2] = [&["-tunapieOH"], &["-tunapie"]];
/// A list can miss a socket while others come and go.
const MISSING_READINGS: u64 = 2;
impl fmt::Debug for Ss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ss").finish_non_exhaustive()
    }
}

/// Runs `ss` with these arguments, in the C locale and with a time limit.
pub(crate) type RunSs = Box<dyn Fn(&[&str]) -> Result<Ran> + Send>;

/// What running `ss` gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Reads sockets by running `ss`.
pub(crate) struct Ss {
    run: RunSs,
    form: usize,
    owners: Owners,
    ledger: Ledger,
    roster: Roster,
    tracked: HashMap<SocketId, Tracked>,
    netns: Option<Netns>,
    reading: u64,
    /// This `ss` prints what was sent, not only what was acknowledged.
    prints_sent: bool,
    unreadable: u64,
}

/// A socket that was there at the last readings.
#[derive(Debug)]
struct Tracked {
    row: Socket,
    counters: Option<TcpCounters>,
    /// An upper layer protocol uses it: multipath TCP, TLS.
    has_ulp: bool,
    seen: u64,
}

impl Ss {
    /// Starts to count: what the sockets that are open now moved before does not.
    ///
    /// # Errors
    ///
    /// [`Missing`](ErrorKind::Missing) without `ss`, [`Malformed`](ErrorKind::Malformed)
    /// when it takes none of the known arguments, and those of running it.
    pub(crate) fn start(run: RunSs) -> Result<Self> {
        let inode = fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino());
        let mut this = Self {
            run,
            form: 0,
            owners: Owners::new("/proc"),
            ledger: Ledger::default(),
            roster: Roster::default(),
            tracked: HashMap::new(),
            netns: inode.ok().and_then(|inode| {
                Some(Netns {
                    cookie: None,
                    inode: u32::try_from(inode).ok()?,
                })
            }),
            reading: 0,
            prints_sent: false,
            unreadable: 0,
        };
        this.read()?;
        Ok(this)
    }

    /// Why figures are less than exact, or sockets missing.
    pub(crate) fn limits(&self) -> Vec<String> {
        let mut limits = vec![
            "bytes between the last reading of a socket and its end are missing".into(),
            "other network namespaces are not read".into(),
        ];
        if !self.prints_sent {
            limits.push("this ss or kernel counts sent bytes once they are acknowledged".into());
        }
        limits
    }

    /// Runs `ss`, with older arguments where it refuses newer ones.
    fn list(&mut self) -> Result<SsOutput> {
        let mut refusal = String::new();
        for (form, arguments) in FORMS.iter().enumerate().skip(self.form) {
            let ran = (self.run)(arguments)?;
            if ran.success {
                self.form = form;
                let listed = parse_ss(&ran.stdout);
                if listed.sockets.is_empty() && listed.unreadable > 0 {
                    let what = "ss printed nothing that could be read";
                    return Err(Error::new(ErrorKind::Malformed, what));
                }
                return Ok(listed);
            }
            let said = String::from_utf8_lossy(&ran.stderr);
            refusal = said.lines().next().unwrap_or_default().trim().to_owned();
        }
        let form = FORMS.last().copied().unwrap_or_default().join(" ");
        let what = format!("ss refused {form}: {refusal}");
        Err(Error::new(ErrorKind::Malformed, what))
    }

    /// Counts one open socket.
    fn open(
        &mut self,
        now: &SsSocket,
        listening: &HashSet<u16>,
        identities: &mut HashMap<u32, ProcessId>,
    ) -> Socket {
        let id = identity(now);
        if is_remnant(now) {
            // It has the cookie of the socket that closed.
            return self.row(now, id, None, None, &[]);
        }
        let known = self.tracked.remove(&id);
        let counters = counters(now, self.prints_sent);
        if let (Some(counters), Some(before)) =
            (counters, known.as_ref().and_then(|it| it.counters))
            && (counters.bytes_received < before.bytes_received
                || counters.bytes_acked < before.bytes_acked)
        {
            self.ledger.restart(id);
        }
        let direction = direction(now, listening)
            .or_else(|| known.as_ref().and_then(|known| known.row.direction))
            .or_else(|| counters.and_then(|counters| counters.direction()));
        // It lets go of the socket at the end.
        let had_ulp = known.as_ref().is_some_and(|known| known.has_ulp);
        let has_ulp = had_ulp || now.tcp.is_some_and(|tcp| tcp.has_ulp);
        let measured = counters.map(|counters| {
            let measured = counters.measure(Fin::Unknown, direction);
            measured.below_ulp(has_ulp)
        });
        let mut holders: Vec<ProcessId> = now
            .holders
            .iter()
            .map(|holder| self.process(holder, identities))
            .collect();
        holders.sort_unstable_by_key(|holder| (holder.started, holder.pid));
        holders.dedup();
        let row = self.row(now, id, direction, measured, &holders);
        let tracked = Tracked {
            row: row.clone(),
            counters,
            has_ulp,
            seen: self.reading,
        };
        self.tracked.insert(id, tracked);
        row
    }

    fn row(
        &mut self,
        now: &SsSocket,
        id: SocketId,
        direction: Option<Direction>,
        measured: Option<Measured>,
        holders: &[ProcessId],
    ) -> Socket {
        let mut row = Socket {
            id,
            netns: self.netns,
            protocol: now.protocol,
            local: address(&now.local),
            remote: now.remote.as_ref().map(address),
            state: now.state,
            direction,
            uid: now.uid,
            cgroup_id: None,
            owner: holders.first().copied(),
            owner_name: None,
            shared: holders.len() > 1,
            payload: measured.map(|measured| measured.payload),
            wire: None,
            rtt: now.tcp.and_then(|tcp| tcp.rtt),
            retransmits: now.tcp.map(|tcp| tcp.retransmits),
            accuracy: measured.map_or(Accuracy::LowerBound, |measured| measured.accuracy),
        };
        if let Some(measured) = measured {
            let since = match self.reading {
                1 => Since::Now,
                _ => Since::Birth,
            };
            let holder = match holders {
                // Not accepted yet, or closed by its process.
                [] if now.inode == Some(0) => Holder::Nobody,
                [] => Holder::Unknown,
                holders => Holder::Processes(holders),
            };
            let account = self.ledger.record(id, measured.payload, since, holder);
            row.owner = account.owner();
            row.shared = account.shared();
        }
        self.roster.saw(&mut row, |_| None);
        row
    }

    /// A holder with its start, which `ss` does not print.
    fn process(
        &mut self,
        holder: &SsHolder,
        identities: &mut HashMap<u32, ProcessId>,
    ) -> ProcessId {
        if let Some(&known) = identities.get(&holder.pid) {
            return known;
        }
        let pid = Pid(holder.pid);
        let (process, name) = self.owners.identify(pid).unwrap_or_else(|| {
            let process = ProcessId { pid, started: None };
            (process, holder.name.clone())
        });
        self.roster.name(process, &name);
        identities.insert(holder.pid, process);
        process
    }

    /// Gives up sockets that are not listed any more.
    fn close_vanished(&mut self) -> Vec<Socket> {
        let gone: Vec<SocketId> = self
            .tracked
            .iter()
            .filter(|(_, tracked)| self.reading >= tracked.seen + MISSING_READINGS)
            .map(|(&id, _)| id)
            .collect();
        let mut closed = Vec::new();
        for id in gone {
            let Some(Tracked { mut row, .. }) = self.tracked.remove(&id) else {
                continue;
            };
            if row.payload.is_some() {
                self.ledger.close(id, None);
            }
            row.state = SocketState::Closed;
            if row.accuracy == Accuracy::Exact {
                row.accuracy = Accuracy::LowerBound;
            }
            self.roster.saw_end(&mut row);
            closed.push(row);
        }
        closed
    }
}

impl Measure for Ss {
    fn read(&mut self) -> Result<Reading> {
        let listed = self.list()?;
        self.reading += 1;
        self.roster.begin();
        self.unreadable += listed.unreadable;
        let has_sent = |socket: &SsSocket| socket.tcp.is_some_and(|tcp| tcp.bytes_sent.is_some());
        self.prints_sent |= listed.sockets.iter().any(has_sent);
        let listening = listed
            .sockets
            .iter()
            .filter(|socket| socket.state == SocketState::Listen)
            .map(|socket| socket.local.port)
            .collect();
        let mut identities = HashMap::new();
        let open = listed
            .sockets
            .iter()
            .map(|socket| self.open(socket, &listening, &mut identities))
            .collect();
        let closed = self.close_vanished();
        let owners = &self.owners;
        let processes = self.roster.processes(&mut self.ledger, false, |process| {
            match owners.identify(process.pid) {
                Some((now, _)) => now == process,
                None => false,
            }
        });
        let unknown = self.ledger.total(Attribution::Unknown);
        Ok(Reading {
            taken_at: Instant::now(),
            timestamp: Utc::now(),
            source: Source::Ss,
            open,
            closed,
            processes,
            lost: Lost {
                unattributed_rx_bytes: unknown.rx_bytes,
                unattributed_tx_bytes: unknown.tx_bytes,
                unreadable: self.unreadable,
                ..Lost::default()
            },
        })
    }

    fn status(&self) -> Status {
        Status {
            limits: self.limits(),
            packets: Packets::NotCounted("`ss` knows no packets of one socket".to_owned()),
            ..Status::of(Source::Ss)
        }
    }
}

#[cfg(test)]
mod live;
#[cfg(test)]
mod tests;
