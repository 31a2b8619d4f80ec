//! Measures with the kernel programs of `netwatch-ebpf`. Linux only.
//!
//! | file | subject |
//! |---|---|
//! | `programs` | which programs there are, and the ladder of rungs |
//! | `offsets` | where this kernel keeps the fields they read |
//! | `load` | climbing the ladder: loading, testing, listing the older sockets |
//! | `attach`, `doubles` | loading and attaching one program, or with its double |
//! | `symbols`, `probe` | where functions are, and kprobes there |
//! | `sizes` | how large the maps are |
//! | `self_test`, `causes` | whether a rung counts, and why one does not |
//! | `watchdog` | noticing that it has stopped |
//! | `order` | whether doubles run after their programs |
//! | `missed` | runs of programs that the kernel skipped |
//! | `refusal` | what the kernel refuses, with the way out |
//! | `syscall` | the `bpf(2)` calls that aya lacks |
//! | `decode` | kernel bytes to typed values |
//! | `sockets` | the sockets at a reading: passes over them, and searches for owners |
//! | `listing` | one listing of the sockets after the other |
//! | `rows` | processes with their figures |
//! | `flows` | the rung `cgroup`, which sees packets and no calls |
//! | `maps` | the maps by name, and `COUNTERS` |
//! | `events`, `clock` | what is written of connections, to typed events |
//! | `pump` | the thread that reads events while someone wants them |
//! | `accounts` | adding up, so that every byte counts once |
//! | `dns`, `clock` | messages of DNS clients, and when |
//! | `closed_ports` | who tries ports that nobody has |
//! | `checks`, `cgroup`, `capabilities` | what the host offers |

mod accounts;
mod attach;
mod capabilities;
mod causes;
mod cgroup;
mod checks;
mod clock;
mod closed_ports;
mod decode;
mod dns;
mod doubles;
mod events;
mod flows;
mod interpreter;
mod listing;
mod load;
mod maps;
mod missed;
mod object;
mod offsets;
mod order;
mod probe;
mod programs;
mod pump;
mod refusal;
mod rows;
mod self_test;
mod sizes;
mod sockets;
mod symbols;
mod syscall;
mod watchdog;

use std::{
    fmt,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use aya::maps::HashMap as BpfHashMap;
use aya_log::EbpfLogger;
use chrono::Utc;
use netwatch_common::{
    counters,
    process::{ProcessKey, ProcessRecord},
    socket::SocketRow,
};

pub(crate) use self::checks::checks;
use self::{
    accounts::Accounts,
    cgroup::CgroupPaths,
    closed_ports::ClosedPorts,
    dns::Dns,
    flows::Flows,
    load::Loaded,
    missed::Missed,
    programs::Store,
    pump::EbpfFeed,
    refusal::{no_hook, too_old},
    rows::process_rows,
    self_test::Outcome,
    sockets::Sockets,
    watchdog::Watchdog,
};
use super::{Measure, feed::Feed, id_hash::IdMap, map_sizes::MapSizes};
use crate::{
    Error, ErrorKind, Result,
    collector::{Hook, MapPressure, Packets, Refusal, Status},
    error::chain,
    reading::{
        Accuracy, Attribution, Lost, Payload, Process, Reading, Source, closed_port::ClosedPort,
        dns::DnsDatagram,
    },
};

/// The running kernel programs.
struct Ebpf {
    loaded: Loaded,
    /// Log lines of the kernel programs, for the `log` crate.
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    accounts: Accounts,
    sockets: Sockets,
    cgroups: CgroupPaths,
    sizes: MapSizes,
    feed: Arc<EbpfFeed>,
    watchdog: Watchdog,
    /// As of the last reading.
    missed: Missed,
    untracked_calls: u64,
    records: usize,
    /// `None` where DNS messages are not copied. The feed has it too.
    dns: Option<Arc<Mutex<Dns>>>,
    closed_ports: ClosedPorts,
}

impl fmt::Debug for Ebpf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ebpf")
            .field("hook", &self.loaded.rung.hook.name())
            .finish_non_exhaustive()
    }
}

/// Starts the first of the hooks that works, on this thread. About 60 ms.
///
/// # Errors
///
/// Names for every hook the missing capability, kernel feature, setting or mount.
pub(crate) fn start(sizes: MapSizes, hooks: &[Hook]) -> Result<Box<dyn Measure>> {
    let mut refused = match load::load(sizes, hooks) {
        Ok(loaded) => return Ok(Box::new(Ebpf::of(loaded, sizes)?)),
        Err(refused) => refused,
    };
    give_back_memory();
    if hooks.contains(&Hook::Cgroup) {
        match Flows::start(sizes, &mut refused) {
            Ok(flows) => return Ok(Box::new(flows)),
            Err(error) => refused.push((Hook::Cgroup, error)),
        }
    }
    Err(too_old().unwrap_or_else(|| no_hook(refused)))
}

/// Why better hooks do not run.
fn refusals(refused: &[(Hook, Error)]) -> Vec<Refusal> {
    let refused = refused.iter().map(|(hook, why)| Refusal {
        what: hook.name().to_owned(),
        why: chain(why),
    });
    refused.collect()
}

impl Ebpf {
    fn of(mut loaded: Loaded, sizes: MapSizes) -> Result<Self> {
        // Without the log the figures are as good.
        let log = EbpfLogger::init(&mut loaded.ebpf)
            .map_err(|error| log::warn!("no log lines from the kernel programs: {error}"))
            .ok();
        give_back_memory();
        object::give_back();
        let root = loaded.cgroup.clone().unwrap_or_default();
        let dns = Dns::new(&loaded, sizes.dns_bytes)?.map(|dns| Arc::new(Mutex::new(dns)));
        let feed = Arc::new(EbpfFeed::new(&loaded, dns.clone())?);
        Ok(Self {
            loaded,
            log,
            accounts: Accounts::default(),
            sockets: Sockets::default(),
            cgroups: CgroupPaths::new(root),
            sizes,
            feed,
            watchdog: Watchdog::new(Instant::now()),
            missed: Missed::default(),
            untracked_calls: 0,
            records: 0,
            dns,
            closed_ports: ClosedPorts::default(),
        })
    }

    fn dns_ring(&self) -> Option<MutexGuard<'_, Dns>> {
        let dns = self.dns.as_ref()?;
        Some(dns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn map_pressure(&self) -> Vec<MapPressure> {
        let mut maps = vec![MapPressure {
            name: "PROCESSES",
            used: self.records as u64,
            capacity: u64::from(self.sizes.processes),
        }];
        if self.loaded.store == Store::Table {
            maps.push(MapPressure {
                name: Store::Table.map(),
                used: self.sockets.listing.rows().len() as u64,
                capacity: u64::from(self.sizes.sockets),
            });
        }
        maps
    }

    fn remove(&mut self, keys: &[ProcessKey]) -> Result<()> {
        let failed =
            |error| Error::new(ErrorKind::Io, "PROCESSES cannot be written").because(error);
        if keys.is_empty() {
            return Ok(());
        }
        let Some(map) = self.loaded.ebpf.map_mut("PROCESSES") else {
            return Ok(());
        };
        let mut map = BpfHashMap::<_, [u8; 16], [u8; size_of::<ProcessRecord>()]>::try_from(map)
            .map_err(failed)?;
        for key in keys {
            // Not there any more is as good.
            let _ = map.remove(&zerocopy::transmute!(*key));
        }
        Ok(())
    }

    /// Whether bytes of calls are missing. Other hooks count by its result what has no record.
    const fn lacks_calls(&self) -> bool {
        self.loaded.rung.by_kprobes && self.untracked_calls > 0
    }

    /// Tests the rung again when it looks as if it had stopped counting.
    fn watch(&mut self) -> Result<()> {
        let packets = self.loaded.cgroup.is_ok();
        let counted = self.accounts.sum();
        let now = Instant::now();
        if !self.watchdog.suspects(counted, packets, now) {
            return Ok(());
        }
        let outcome = self.loaded.test();
        self.watchdog.tested(outcome.is_ok(), now);
        outcome
    }
}

/// Loading takes the kernel's type information apart, and a list that grows leaves smaller
/// ones behind: megabytes that glibc would keep for later. About a millisecond.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Measure for Ebpf {
    fn read(&mut self) -> Result<Reading> {
        let failed = |error| Error::io("PROCESSES cannot be read", error);
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.loaded.attach_late()?;
        // In this order: see `accounts`.
        let records: Vec<(ProcessKey, ProcessRecord)> = {
            let map = maps::map(&self.loaded.ebpf, "PROCESSES")?;
            let mut records = syscall::read_map(map.fd().as_fd()).map_err(failed)?;
            records.retain(|(key, _)| *key != ProcessKey::TEST);
            records
        };
        let closed = self.sockets.read(&mut self.loaded)?;
        self.records = records.len();
        let counted = maps::all_counters(&self.loaded.ebpf)?;
        let count = |index: u32| counted.get(index as usize).copied().unwrap_or_default();
        let listing = &mut self.sockets.listing;
        if listing.has_outgrown_its_memory() {
            give_back_memory();
        }
        let removable = self.accounts.update(&records, listing.seen(), &closed);
        self.remove(&removable)?;
        self.sockets.forget_ended();
        if let Some(mut dns) = self.dns_ring() {
            dns.forget(|key| self.accounts.is_known(key));
        }
        self.watch()?;
        // Last: what is missing above was counted before.
        self.missed = Missed::read(&self.loaded.ebpf, &self.missed)?;
        self.untracked_calls = count(counters::UNTRACKED_CALLS);
        let accuracy = match self.missed.accuracy(self.loaded.store) {
            Accuracy::Exact if self.lacks_calls() || self.loaded.doubles_are_on_returns => {
                Accuracy::LowerBound
            }
            accuracy => accuracy,
        };

        let counts_packets = self.loaded.cgroup.is_ok();
        let names: IdMap<ProcessKey, String> = self
            .accounts
            .iter()
            .map(|(key, account)| (*key, decode::name(&account.comm)))
            .collect();
        let socket = |row: &SocketRow| {
            let name = names.get(&row.record.owner).map(String::as_str);
            decode::socket(row, name, counts_packets, accuracy)
        };
        let mut processes =
            process_rows(&self.accounts, &mut self.cgroups, counts_packets, accuracy);
        let (rx_bytes, tx_bytes) = (
            count(counters::UNATTRIBUTED_RX),
            count(counters::UNATTRIBUTED_TX),
        );
        if rx_bytes != 0 || tx_bytes != 0 {
            processes.push(Process {
                id: Attribution::Unattributed,
                name: "[unattributed]".to_owned(),
                payload: Payload { rx_bytes, tx_bytes },
                wire: None,
                sockets: 0,
                cgroup_id: None,
                cgroup: None,
                accuracy,
                alive: true,
            });
        }
        Ok(Reading {
            taken_at: Instant::now(),
            timestamp: Utc::now(),
            source: Source::Ebpf,
            open: self.sockets.listing.rows().iter().map(socket).collect(),
            closed: closed.iter().map(socket).collect(),
            processes,
            lost: Lost {
                unattributed_rx_bytes: rx_bytes,
                unattributed_tx_bytes: tx_bytes,
                unattributed_wire_bytes: count(counters::UNATTRIBUTED_WIRE),
                unseen_bytes: 0,
                closed_rows: count(counters::CLOSED_ROWS),
                events: count(counters::EVENTS_LOST),
                untracked_calls: self.untracked_calls,
                untracked_packets: count(counters::UNTRACKED_PACKETS),
                dns_messages: count(counters::DNS_MESSAGES),
                closed_ports: count(counters::CLOSED_PORTS_LOST),
                missed_runs: self.missed.runs(),
                unreadable: self.sockets.unreadable
                    + self.dns_ring().map_or(0, |dns| dns.unreadable),
            },
        })
    }

    fn dns(&mut self, take: &mut dyn FnMut(DnsDatagram<'_>)) -> Result<bool> {
        let Some(mut dns) = self.dns_ring() else {
            return Ok(false);
        };
        // Often enough also when messages come meanwhile: what is left wakes nobody.
        for _ in 0..16 {
            if dns.drain(take)? {
                break;
            }
        }
        Ok(true)
    }

    fn closed_ports(&mut self, take: &mut dyn FnMut(ClosedPort)) -> Result<()> {
        self.closed_ports.drain(&self.loaded, take)
    }

    fn status(&self) -> Status {
        let mut limits = Vec::new();
        if let Err(why) = &self.loaded.cgroup {
            limits.push(format!("packets are not counted: {why}"));
        }
        for unseen in &self.loaded.unseen {
            limits.push(format!("payload is not counted of {unseen}"));
        }
        for path in &self.loaded.awaited {
            limits.push(format!(
                "payload is not counted of {}: its kernel module is not loaded",
                path.name
            ));
        }
        for late in &self.loaded.late {
            limits.push(format!(
                "payload of {late} is counted since the first reading after its kernel module \
                 was loaded"
            ));
        }
        if let Some(why) = &self.loaded.closed_ports_unseen {
            limits.push(format!(
                "attempts at closed ports of this host are not seen: {why}"
            ));
        }
        if let Outcome::NotPossible(why) = &self.loaded.tested {
            limits.push(format!("the hook is not tested: {why}"));
        }
        if self.loaded.doubles_are_preempted {
            limits.push(
                "calls may be missed, as what makes up for preempted programs can be preempted \
                 itself: tracefs cannot be read, or another tracer of sock_send_length was \
                 here before"
                    .to_owned(),
            );
        }
        if self.loaded.doubles_are_on_returns {
            limits.push(
                "calls that wait while another tracer of inet_sendmsg or inet_recvmsg comes or \
                 goes are not counted, so payload is a lower bound (--hook kprobe counts them)"
                    .to_owned(),
            );
        }
        if self.lacks_calls() {
            limits.push(format!(
                "payload of {} calls is missing: the table of sockets was full \
                 (Builder::max_sockets), or more calls waited at once than the kernel can probe",
                self.untracked_calls
            ));
        }
        limits.extend(self.missed.limit(self.loaded.rung, self.loaded.store));
        Status {
            hook: Some(self.loaded.rung.hook.name()),
            refused: refusals(&self.loaded.refused),
            packets: match &self.loaded.cgroup {
                Ok(path) => Packets::Counted(path.display().to_string()),
                Err(why) => Packets::NotCounted(why.clone()),
            },
            maps: self.map_pressure(),
            limits,
            ..Status::of(Source::Ebpf)
        }
    }

    fn feed(&self) -> Option<Arc<dyn Feed>> {
        Some(Arc::clone(&self.feed) as Arc<dyn Feed>)
    }
}
