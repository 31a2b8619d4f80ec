//! What a collector reported, over all its readings, in rows that can be compared.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, OnceLock},
};

use anyhow::{Context, Result, anyhow, ensure};
use netwatch_sdk::{
    Backend, Builder, Collector, Hook, Reader,
    reading::{
        Accuracy, Attribution, Direction, Lost, Payload, Process, ProcessId, Protocol, Reading, Rtt,
        Socket, WireBytes,
    },
};

use crate::{
    actor::unavailable,
    shape::Shape,
    truth::{Key, Way},
};

/// Who a process is: pid, and its start in clock ticks since boot.
pub(crate) type Who = (u32, Option<u64>);

/// A process as the collector last reported it.
#[derive(Debug, Clone)]
pub(crate) struct SeenProcess {
    pub(crate) who: Who,
    pub(crate) name: String,
    pub(crate) payload: Payload,
    pub(crate) wire: Option<WireBytes>,
    pub(crate) sockets: u32,
    pub(crate) accuracy: Accuracy,
    pub(crate) alive: bool,
}

/// A socket as the collector last reported it.
#[derive(Debug, Clone)]
pub(crate) struct SeenSocket {
    pub(crate) cookie: u64,
    pub(crate) protocol: u16,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) payload: Option<Payload>,
    pub(crate) wire: Option<WireBytes>,
    pub(crate) rtt: Option<Rtt>,
    pub(crate) retransmits: Option<u64>,
    pub(crate) owner: Option<Who>,
    pub(crate) owner_name: Option<String>,
    pub(crate) shared: bool,
    pub(crate) way: Way,
    pub(crate) uid: Option<u32>,
    pub(crate) netns: Option<u64>,
    pub(crate) accuracy: Accuracy,
    /// How many times its end was reported.
    pub(crate) ends: usize,
    pub(crate) open: bool,
}

/// Everything a collector has reported so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) processes: HashMap<Who, SeenProcess>,
    pub(crate) sockets: HashMap<Key, SeenSocket>,
    /// Bytes of rows that belong to no process.
    pub(crate) buckets: HashMap<String, Payload>,
    pub(crate) lost: Lost,
    /// Whose figures went down.
    pub(crate) shrunk_processes: HashSet<Who>,
    pub(crate) shrunk_sockets: HashSet<Key>,
}

/// Settings of the collectors under test: kernel programs, with the hook that the
/// environment variable `NETWATCH_HOOK` names; where `NETWATCH_STORE` is `table`, with the
/// records of sockets in a table.
pub(crate) fn exact() -> Result<Builder> {
    let mut builder = Collector::builder().backend(Backend::Ebpf);
    if let Some(store) = std::env::var_os("NETWATCH_STORE") {
        ensure!(store == "table", "NETWATCH_STORE: {}", store.display());
        builder = builder.in_table();
    }
    let Some(name) = std::env::var_os("NETWATCH_HOOK") else {
        return Ok(builder);
    };
    let mut hooks = Hook::ALL.iter();
    let (_, hook) = hooks
        .find(|(known, _)| *known == name)
        .with_context(|| format!("NETWATCH_HOOK: no hook is called {}", name.display()))?;
    if *hook == Hook::Cgroup {
        return Err(unavailable("the hook cgroup", "it sees no calls"));
    }
    Ok(builder.hook(*hook))
}

/// A running collector and what it has reported.
pub(crate) struct Observer {
    reader: Reader,
    seen: Observation,
}

impl Observer {
    /// A collector of its own, with settings.
    pub(crate) fn with(settings: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        match settings(exact()?).start() {
            Ok(collector) => Ok(Self {
                reader: collector.reader(),
                seen: Observation::default(),
            }),
            Err(error) if !nix::unistd::geteuid().is_root() => {
                Err(unavailable("needs root", error))
            }
            Err(error) => Err(error).context("start the collector"),
        }
    }

    /// Fails unless a map in the kernel has no room left.
    pub(crate) fn ensure_full(&self) -> Result<()> {
        let maps = self.reader.collector().status().maps;
        let is_full = maps.iter().any(|map| map.used >= map.capacity);
        ensure!(is_full, "no map is full: {maps:?}");
        Ok(())
    }

    /// What the collector says that it cannot do.
    pub(crate) fn limits(&self) -> Vec<String> {
        self.reader.collector().status().limits
    }

    /// [`ensure_counted`] by its collector.
    pub(crate) fn ensure_counted(&self, shape: &Shape) -> Result<()> {
        ensure_counted(self.reader.collector(), shape)
    }

    /// Takes one reading and adds it to what was seen before.
    pub(crate) fn read(&mut self) -> Result<Observation> {
        let reading = self.reader.read().context("take a reading")?;
        self.seen.add(&reading);
        Ok(self.seen.clone())
    }
}

/// A collector that several tests share, or why there is none.
type Shared = OnceLock<Result<Mutex<Observer>, String>>;

/// The collector that most tests share, so that its readings also overlap.
pub(crate) fn shared() -> Result<MutexGuard<'static, Observer>> {
    static SHARED: Shared = OnceLock::new();
    lock(&SHARED, |builder| builder)
}

/// The same with the records of sockets in a table.
pub(crate) fn shared_in_table() -> Result<MutexGuard<'static, Observer>> {
    static SHARED: Shared = OnceLock::new();
    lock(&SHARED, Builder::in_table)
}

fn lock(
    shared: &'static Shared,
    settings: fn(Builder) -> Builder,
) -> Result<MutexGuard<'static, Observer>> {
    let started = shared.get_or_init(|| {
        let observer = Observer::with(settings);
        observer.map(Mutex::new).map_err(|error| {
            let unavailable = error.is::<crate::actor::Unavailable>();
            if unavailable {
                format!("?{error:#}")
            } else {
                format!("{error:#}")
            }
        })
    });
    match started {
        Ok(observer) => observer
            .lock()
            .map_err(|_| anyhow!("an earlier test panicked")),
        Err(reason) => Err(match reason.strip_prefix('?') {
            Some(reason) => crate::actor::Unavailable(reason.to_owned()).into(),
            None => anyhow!("{reason}"),
        }),
    }
}

impl Observation {
    /// Without the sockets that were seen before: a namespace's number is used again.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.sockets.retain(|key, _| !before.sockets.contains_key(key));
        self
    }

    fn add(&mut self, reading: &Reading) {
        self.lost = reading.lost;
        for process in &reading.processes {
            match process.id {
                Attribution::Process(id) => self.add_process(who(id), process),
                _ => {
                    self.buckets.insert(process.name.clone(), process.payload);
                }
            }
        }
        for socket in self.sockets.values_mut() {
            socket.open = false;
        }
        // A socket that only `open` told of and that now is in neither list is gone unreported.
        let listed: HashSet<Key> = reading
            .open
            .iter()
            .chain(&reading.closed)
            .map(key)
            .collect();
        self.sockets
            .retain(|key, socket| socket.ends > 0 || listed.contains(key));
        for socket in &reading.closed {
            self.add_socket(socket, 1);
        }
        for socket in &reading.open {
            self.add_socket(socket, 0);
        }
    }

    fn add_process(&mut self, who: Who, process: &Process) {
        let seen = SeenProcess {
            who,
            name: process.name.clone(),
            payload: process.payload,
            wire: process.wire,
            sockets: process.sockets,
            accuracy: process.accuracy,
            alive: process.alive,
        };
        if let Some(before) = self.processes.insert(who, seen)
            && less(process.payload, before.payload)
        {
            self.shrunk_processes.insert(who);
        }
    }

    fn add_socket(&mut self, socket: &Socket, ends: usize) {
        let key = key(socket);
        let before = self.sockets.get(&key);
        let seen = SeenSocket {
            cookie: socket.id.0,
            protocol: number(socket.protocol),
            local: socket.local,
            remote: socket.remote,
            payload: socket.payload,
            wire: socket.wire,
            rtt: socket.rtt,
            retransmits: socket.retransmits,
            owner: socket.owner.map(who),
            owner_name: socket.owner_name.clone(),
            shared: socket.shared,
            way: match socket.direction {
                Some(Direction::Outgoing) => Way::Outgoing,
                Some(Direction::Incoming) => Way::Incoming,
                Some(Direction::Listening) => Way::Listening,
                None => Way::Untold,
            },
            uid: socket.uid,
            netns: socket.netns.map(|netns| netns.inode.into()),
            accuracy: socket.accuracy,
            ends: ends + before.map_or(0, |before| before.ends),
            open: ends == 0,
        };
        let payload = |socket: &SeenSocket| socket.payload.unwrap_or_default();
        if before.is_some_and(|before| less(payload(&seen), payload(before))) {
            self.shrunk_sockets.insert(key);
        }
        self.sockets.insert(key, seen);
    }
}

fn key(socket: &Socket) -> Key {
    let protocol = number(socket.protocol);
    Key::new(socket.id.0, protocol, socket.local, socket.remote)
}

fn less(now: Payload, before: Payload) -> bool {
    now.tx_bytes < before.tx_bytes || now.rx_bytes < before.rx_bytes
}

/// The kernel shows starts in ticks of 10 ms (`USER_HZ` is 100 everywhere).
pub(crate) fn who(id: ProcessId) -> Who {
    let ticks = |started: std::time::Duration| u64::try_from(started.as_millis() / 10).ok();
    (id.pid.0, id.started.and_then(ticks))
}

fn number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Mptcp => 262,
        Protocol::Other(number) => number,
    }
}

/// Fails as what cannot run here, if the collector says that it does not count a shape.
pub(crate) fn ensure_counted(collector: &Collector, shape: &Shape) -> Result<()> {
    if !matches!(shape.stem, "tcp-ktls-splice" | "tcp-sockmap-splice") {
        return Ok(());
    }
    let mut limits = collector.status().limits.into_iter();
    match limits.find(|limit| limit.starts_with("payload is not counted of splice")) {
        Some(limit) => Err(unavailable("the collector", limit)),
        None => Ok(()),
    }
}
