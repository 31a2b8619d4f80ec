//! The rung `cgroup`: packets of the cgroup v2 root, and no calls.
//!
//! | file | subject |
//! |---|---|
//! | `table` | the map `FLOWS`, sockets and processes |

mod table;

use std::{fmt, fs::File, path::PathBuf, time::Instant};

use aya::{Ebpf, EbpfLoader};
use chrono::Utc;
use netwatch_common::{counters, socket::SocketRow};

use self::table::Table;
use super::{
    MapSizes,
    accounts::Accounts,
    attach::attach_all,
    cgroup::{self, CgroupPaths},
    decode,
    listing::{Identity, Listing},
    maps,
    object::OBJECT,
    programs::FLOWS,
    refusal::refusal_of_maps,
    refusals,
    rows::process_rows,
    self_test::{self, Outcome},
    watchdog::Watchdog,
};
use crate::{
    Error, Result,
    backend::{Measure, id_hash::IdSet},
    collector::{Hook, MapPressure, Packets, Status},
    reading::{Accuracy, Lost, Payload, Protocol, Reading, Socket, Source},
};

/// The running programs of the rung.
pub(super) struct Flows {
    ebpf: Ebpf,
    root: PathBuf,
    tested: Outcome,
    refused: Vec<(Hook, Error)>,
    table: Table,
    listing: Listing,
    accounts: Accounts,
    cgroups: CgroupPaths,
    watchdog: Watchdog,
    capacity: u32,
    used: usize,
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Flows {
    /// Loads and attaches the programs and tests them. `refused` are the better rungs.
    pub(super) fn start(sizes: MapSizes, refused: &mut Vec<(Hook, Error)>) -> Result<Self> {
        let root = cgroup::root()?;
        let file =
            File::open(&root).map_err(|error| Error::io(root.display().to_string(), error))?;
        let mut ebpf = match attach(sizes, &file, true) {
            Ok(ebpf) => ebpf,
            // Without `CAP_PERFMON`, `/proc` has to name processes.
            Err(_) => attach(sizes, &file, false)?,
        };
        let tested = self_test::run(&mut ebpf, table::of_test)?;
        Ok(Self {
            ebpf,
            cgroups: CgroupPaths::new(root.clone()),
            root,
            tested,
            refused: std::mem::take(refused),
            table: Table::new(self_test::is_in_initial_pid_namespace()),
            listing: Listing::default(),
            accounts: Accounts::default(),
            watchdog: Watchdog::new(Instant::now()),
            capacity: sizes.sockets,
            used: 0,
        })
    }

    /// Tests the programs again when not a packet was counted for long.
    fn watch(&mut self) -> Result<()> {
        let mut counted = self.accounts.sum();
        counted.payload = Payload {
            rx_bytes: counted.wire.rx_bytes,
            tx_bytes: counted.wire.tx_bytes,
        };
        let now = Instant::now();
        if !self.watchdog.suspects(counted, false, now) {
            return Ok(());
        }
        let outcome = self_test::run(&mut self.ebpf, table::of_test);
        self.watchdog.tested(outcome.is_ok(), now);
        self.tested = outcome?;
        Ok(())
    }
}

fn attach(sizes: MapSizes, root: &File, names: bool) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("NAMES", &u32::from(names), true)
        .map_max_entries("PROCESSES", 1)
        .map_max_entries("CLOSED", 4096)
        .map_max_entries("EVENTS", 4096)
        .map_max_entries("DNS", 4096)
        .map_max_entries("SOCKET_TABLE", 1)
        .map_max_entries("CLAIMS", 1)
        .map_max_entries("NOTED", 1)
        .map_max_entries("OWED", 1)
        .map_max_entries("FLOWS", sizes.sockets)
        .load(OBJECT)
        .map_err(|error| refusal_of_maps(&error))?;
    attach_all(&mut ebpf, FLOWS, None, Some(root))?;
    Ok(ebpf)
}

/// A socket whose calls nobody saw.
fn without_calls(socket: Socket) -> Socket {
    let payload = socket.payload.filter(|_| socket.protocol == Protocol::Tcp);
    Socket {
        payload,
        netns: None,
        ..socket
    }
}

impl Measure for Flows {
    fn read(&mut self) -> Result<Reading> {
        let found = self.table.read(&mut self.ebpf)?;
        self.used = found.open.len();
        let ended: IdSet<Identity> = found.closed.iter().map(Identity::of).collect();
        self.listing.begin(0);
        for row in &found.open {
            self.listing.take(row);
        }
        self.listing.complete(&ended, 0, 0);
        let gone = self
            .accounts
            .update(&found.records, self.listing.seen(), &found.closed);
        self.table.forget(&gone);
        self.listing.forget(&ended);
        self.watch()?;
        let counted = maps::all_counters(&self.ebpf)?;
        let count = |index: u32| counted.get(index as usize).copied().unwrap_or_default();
        let accuracy = Accuracy::LowerBound;
        let socket = |row: &SocketRow| without_calls(decode::socket(row, None, true, accuracy));
        let processes = process_rows(&self.accounts, &mut self.cgroups, true, accuracy);
        Ok(Reading {
            taken_at: Instant::now(),
            timestamp: Utc::now(),
            source: Source::Ebpf,
            open: self.listing.rows().iter().map(socket).collect(),
            closed: found.closed.iter().map(socket).collect(),
            processes,
            lost: Lost {
                untracked_calls: count(counters::UNTRACKED_CALLS),
                untracked_packets: count(counters::UNTRACKED_PACKETS),
                ..Lost::default()
            },
        })
    }

    fn status(&self) -> Status {
        let mut limits = vec![
            "calls are not seen: payload is what TCP acknowledged and received, UDP has none"
                .to_owned(),
            "an accepted connection belongs to who made its listener".to_owned(),
            "sockets older than the collector have no owner, and are listed from their first \
             packet on"
                .to_owned(),
        ];
        if let Outcome::NotPossible(why) = &self.tested {
            limits.push(format!("the hook is not tested: {why}"));
        }
        Status {
            hook: Some(Hook::Cgroup.name()),
            refused: refusals(&self.refused),
            packets: Packets::Counted(self.root.display().to_string()),
            maps: vec![MapPressure {
                name: "FLOWS",
                used: self.used as u64,
                capacity: u64::from(self.capacity),
            }],
            limits,
            ..Status::of(Source::Ebpf)
        }
    }
}
