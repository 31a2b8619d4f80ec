//! Loads the object, climbs the ladder, attaches, and lists the older sockets.

use std::{fs::File, io, os::fd::AsFd as _, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, Iter, ProgramError, SockOps,
    },
};
use netwatch_common::{counters, offsets::Offsets};
use zerocopy::IntoBytes as _;

use super::{
    capabilities, cgroup,
    object::OBJECT,
    offsets,
    programs::{self, CGROUP, CGROUP_TABLE, LIFECYCLE, Place, Program, Rung, Store},
    syscall::IteratorLink,
};
use crate::{Error, ErrorKind, Result, collector::Hook, error::chain};

/// Sizes of the maps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapSizes {
    /// Processes with a record at the same time.
    pub(crate) processes: u32,
    /// Sockets with a record at the same time, where records are in a table.
    pub(crate) sockets: u32,
    /// Keep records in a table also where the kernel has socket storage.
    pub(crate) in_table: bool,
    /// Bytes of rows of closed sockets between two readings; a power of two.
    pub(crate) closed_bytes: u32,
}

impl Default for MapSizes {
    fn default() -> Self {
        Self {
            processes: 16_384,
            sockets: 65_536,
            in_table: false,
            closed_bytes: 4 << 20,
        }
    }
}

/// Programs that are attached; they are detached when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) rung: &'static Rung,
    pub(super) store: Store,
    /// Why better rungs than `rung` do not run.
    pub(super) refused: Vec<(&'static str, String)>,
    /// Where packets are counted, or why they are not.
    pub(super) cgroup: Result<PathBuf, String>,
    pub(super) sockets: IteratorLink,
    owners: IteratorLink,
}

/// What the programs need to know of this host.
struct Host {
    offsets: Offsets,
    btf: aya::Btf,
    /// The cgroup v2 root, or why there is none.
    cgroup: Result<(PathBuf, File), String>,
}

/// Loads and attaches everything, with the first of the hooks that works.
pub(super) fn load(sizes: MapSizes, hooks: &[Hook]) -> Result<Loaded> {
    let host = Host::read()?;
    let mut refused = Vec::new();
    for rung in programs::rungs(hooks) {
        match host.start(rung, sizes) {
            Ok(loaded) => return Ok(Loaded { refused, ..loaded }),
            Err(error) if error.kind() == ErrorKind::Permission => return Err(error),
            Err(error) => refused.push((rung.hook.name(), chain(&error))),
        }
    }
    let reasons: Vec<String> = refused
        .iter()
        .map(|(name, reason)| format!("{name}: {reason}"))
        .collect();
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "no hook for payload bytes attaches ({})",
            reasons.join("; ")
        ),
    ))
}

/// Loads and attaches a rung's programs, and detaches them again.
pub(super) fn try_rung(rung: &'static Rung) -> Result<()> {
    let host = Host::read()?;
    let sizes = MapSizes::default();
    let mut ebpf = host.open(sizes, rung.store, true)?;
    attach_all(&mut ebpf, rung.programs, &host.btf, None)
}

impl Host {
    fn read() -> Result<Self> {
        let cgroup = cgroup::root().map_err(|error| chain(&error));
        Ok(Self {
            offsets: offsets::read()?,
            btf: read_btf()?,
            cgroup: cgroup.and_then(|path| match File::open(&path) {
                Ok(file) => Ok((path, file)),
                Err(error) => Err(format!("{}: {error}", path.display())),
            }),
        })
    }

    /// Makes the maps. `release_seen`: some program will see the ends of all sockets.
    fn open(&self, sizes: MapSizes, store: Store, release_seen: bool) -> Result<Ebpf> {
        // What is below the level is not even in the loaded programs.
        let log_level = log::max_level() as u8;
        let in_table = store == Store::Table;
        let (sockets, claims) = if in_table {
            (sizes.sockets, 1024)
        } else {
            (1, 1)
        };
        EbpfLoader::new()
            .btf(Some(&self.btf))
            .override_global("OFFSETS", self.offsets.as_bytes(), true)
            .override_global("RELEASE_SEEN", &u32::from(release_seen), true)
            .override_global("IN_TABLE", &u32::from(in_table), true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("PROCESSES", sizes.processes)
            .map_max_entries("CLOSED", sizes.closed_bytes)
            .map_max_entries("SOCKET_TABLE", sockets)
            .map_max_entries("CLAIMS", claims)
            .load(OBJECT)
            .map_err(|error| refusal("the kernel refuses the maps", &error))
    }

    fn attach_cgroup(&self, ebpf: &mut Ebpf, store: Store, root: &File) -> Result<()> {
        attach_all(ebpf, CGROUP, &self.btf, Some(root))?;
        match store {
            Store::Sockets => Ok(()),
            Store::Table => attach_all(ebpf, CGROUP_TABLE, &self.btf, Some(root)),
        }
    }

    /// Loads and attaches everything with one rung.
    fn start(&self, rung: &'static Rung, sizes: MapSizes) -> Result<Loaded> {
        let store = if sizes.in_table {
            Store::Table
        } else {
            rung.store
        };
        let mut ebpf = self.open(sizes, store, self.cgroup.is_ok())?;
        attach_all(&mut ebpf, LIFECYCLE, &self.btf, None)?;
        let attached = match &self.cgroup {
            Ok((path, root)) => match self.attach_cgroup(&mut ebpf, store, root) {
                Ok(()) => Ok(path.clone()),
                Err(error) => Err(chain(&error)),
            },
            Err(why_not) => Err(why_not.clone()),
        };
        if attached.is_err() && self.cgroup.is_ok() {
            ebpf = self.open(sizes, store, false)?;
            attach_all(&mut ebpf, LIFECYCLE, &self.btf, None)?;
        }
        attach_all(&mut ebpf, rung.programs, &self.btf, None)?;
        let (lister, kind) = store.lister();
        let sockets = iterate(&mut ebpf, lister, kind, Some(store.map()), &self.btf)?;
        let owners = iterate(&mut ebpf, store.owners(), "task_file", None, &self.btf)?;
        let mut loaded = Loaded {
            ebpf,
            rung,
            store,
            refused: Vec::new(),
            cgroup: attached,
            sockets,
            owners,
        };
        // Hooks first, then the list of what was there before: nothing falls between.
        loaded.find_owners()?;
        loaded.set_seeded()?;
        Ok(loaded)
    }
}

fn read_btf() -> Result<aya::Btf> {
    aya::Btf::from_sys_fs().map_err(|error| refusal("the kernel's BTF cannot be read", &error))
}

impl Loaded {
    /// Says that what is new from now on is newer than the collector.
    fn set_seeded(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut("COUNTERS");
        map.and_then(|map| Array::<_, u64>::try_from(map).ok())
            .ok_or_else(|| missing("COUNTERS"))?
            .set(counters::SEEDED, 1, 0)
            .map_err(|error| refusal("COUNTERS cannot be written", &error))
    }

    /// Gives an owner to every socket that has none and that a process holds.
    pub(super) fn find_owners(&self) -> Result<()> {
        self.owners
            .run(|| {})
            .map_err(|error| Error::io("the iterator over open files", error))
    }
}

fn iterate(
    ebpf: &mut Ebpf,
    name: &str,
    kind: &str,
    over: Option<&str>,
    btf: &aya::Btf,
) -> Result<IteratorLink> {
    let what = format!("iterator {kind} ({name})");
    find_mut::<Iter>(ebpf, name)?
        .load(kind, btf)
        .map_err(|error| refusal(&what, &error))?;
    let program: &Iter = find(ebpf, name)?;
    let program = program.fd().map_err(|error| refusal(&what, &error))?;
    let map = over.map(|name| map(ebpf, name)).transpose()?;
    IteratorLink::attach(program.as_fd(), map.map(|map| map.fd().as_fd()))
        .map_err(|error| refusal(&what, &error))
}

fn attach_all(
    ebpf: &mut Ebpf,
    programs: &[Program],
    btf: &aya::Btf,
    cgroup: Option<&File>,
) -> Result<()> {
    for program in programs {
        attach(ebpf, program, btf, cgroup).map_err(|error| {
            refusal(&format!("{} ({:?})", program.name, program.place), &*error)
        })?;
    }
    Ok(())
}

fn attach(
    ebpf: &mut Ebpf,
    program: &Program,
    btf: &aya::Btf,
    cgroup: Option<&File>,
) -> Result<(), Box<dyn std::error::Error>> {
    let no_cgroup = "no cgroup v2";
    match program.place {
        Place::TpBtf(tracepoint) => {
            let found = find_mut::<BtfTracePoint>(ebpf, program.name)?;
            found.load(tracepoint, btf)?;
            found.attach()?;
        }
        Place::CgroupSkb(kind) => {
            let found = find_mut::<CgroupSkb>(ebpf, program.name)?;
            found.load()?;
            found.attach(cgroup.ok_or(no_cgroup)?, kind, CgroupAttachMode::Single)?;
        }
        Place::CgroupSock => {
            let found = find_mut::<CgroupSock>(ebpf, program.name)?;
            found.load()?;
            found.attach(cgroup.ok_or(no_cgroup)?, CgroupAttachMode::Single)?;
        }
        Place::SockOps => {
            let found = find_mut::<SockOps>(ebpf, program.name)?;
            found.load()?;
            found.attach(cgroup.ok_or(no_cgroup)?, CgroupAttachMode::Single)?;
        }
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the embedded object has no {name}: run cargo xtask build-ebpf"),
    )
}

fn find_mut<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| <&mut P>::try_from(program).ok())
        .ok_or_else(|| missing(name))
}

fn find<'a, P>(ebpf: &'a Ebpf, name: &str) -> Result<&'a P>
where
    &'a P: TryFrom<&'a aya::programs::Program>,
{
    ebpf.program(name)
        .and_then(|program| <&P>::try_from(program).ok())
        .ok_or_else(|| missing(name))
}

/// The kernel's handle on a map.
pub(super) fn map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    use aya::maps::Map;
    match ebpf.map(name) {
        Some(Map::SkStorage(data) | Map::HashMap(data) | Map::Array(data) | Map::RingBuf(data)) => {
            Ok(data)
        }
        _ => Err(missing(name)),
    }
}

/// A map as aya's typed wrappers take it.
pub(super) fn generic_map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a aya::maps::Map> {
    ebpf.map(name).ok_or_else(|| missing(name))
}

/// An error of aya in a sentence: which part, what the kernel said, the way out.
fn refusal(part: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let code = os_error(error);
    let said = code.map_or_else(
        || chain(error),
        |code| {
            let text = io::Error::from_raw_os_error(code).to_string();
            match last_verifier_line(error) {
                Some(line) => format!("{text}: {line}"),
                None => text,
            }
        },
    );
    match code {
        Some(libc::EPERM | libc::EACCES) => {
            let lacking = capabilities::lacking();
            if lacking.is_empty() {
                return Error::new(
                    ErrorKind::Unsupported,
                    format!("{part}: {said}; this kernel or a security policy forbids it"),
                );
            }
            Error::new(
                ErrorKind::Permission,
                format!(
                    "{part}: {said}; needs {} (run as root, or grant them with setcap)",
                    lacking.join(", ")
                ),
            )
        }
        _ => Error::new(ErrorKind::Unsupported, format!("{part}: {said}")),
    }
}

fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(code) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = cause.source();
    }
    None
}

fn last_verifier_line(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let Some(ProgramError::LoadError { verifier_log, .. }) = error.downcast_ref::<ProgramError>()
    else {
        return None;
    };
    let log = verifier_log.to_string();
    log::debug!("the verifier says:\n{log}");
    let mut lines = log.lines().rev().filter(|line| {
        let is_summary = |start| line.starts_with(start);
        !line.is_empty()
            && !["processed ", "verification", "stack depth "]
                .iter()
                .any(is_summary)
    });
    lines.next().map(str::to_owned)
}
