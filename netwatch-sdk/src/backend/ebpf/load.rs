//! Loads the object, climbs the ladder, attaches, and lists the older sockets.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use aya::{Ebpf, EbpfLoader, maps::MapData};
use netwatch_common::counters;
use zerocopy::IntoBytes as _;

use super::{
    attach::{attach_all, attach_at, attach_path, iterate, load_iterator, no_function},
    causes, cgroup,
    closed_ports::{self, NO_RECEIVERS, Receivers},
    doubles, interpreter,
    maps::{map, set_counter},
    missed,
    object::OBJECT,
    offsets::{self, Layout},
    programs::{self, Place, Program, Rung, Store},
    refusal::{refusal, refusal_of_maps},
    self_test::{self, Outcome},
    sizes::{CALLS, CLAIMS, NOTED, OWED},
    symbols::Symbols,
    syscall::IteratorLink,
};
use crate::{
    Error, ErrorKind, Result, backend::map_sizes::MapSizes, collector::Hook, error::chain,
};

/// The kind of iterator over open files.
const TASK_FILE: &str = "task_file";

/// Programs that are attached and were tested; they are detached when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    /// Kprobes that aya did not attach.
    _probes: Vec<OwnedFd>,
    pub(super) rung: &'static Rung,
    pub(super) store: Store,
    /// Why better rungs than `rung` do not run.
    pub(super) refused: Vec<(Hook, Error)>,
    /// Where packets are counted, or why they are not.
    pub(super) cgroup: Result<PathBuf, String>,
    /// How the last test of the rung went.
    pub(super) tested: Outcome,
    pub(super) sockets: IteratorLink,
    pub(super) owners: Arc<IteratorLink>,
    /// Programs that count the calls that others are skipped for can be skipped as well.
    pub(super) doubles_are_preempted: bool,
    /// Those of programs on returns are left out with them.
    pub(super) doubles_are_on_returns: bool,
    /// What the rung does not see here, and why.
    pub(super) unseen: Vec<String>,
    /// Ways of bytes through modules that are not loaded yet.
    pub(super) awaited: Vec<programs::Path>,
    /// Those whose module was loaded after the start.
    pub(super) late: Vec<&'static str>,
    /// Why attempts at closed ports are not seen, if they should be.
    pub(super) closed_ports_unseen: Option<String>,
}

/// Whether a kernel module is loaded.
fn is_loaded(module: &str) -> bool {
    Path::new("/sys/module").join(module).exists()
}

/// What the running kernel says of itself, large, and needed at the start only.
struct Kernel {
    layout: Layout,
    btf: aya::Btf,
    symbols: Symbols,
}

/// Loads and attaches everything, with the first of the hooks that also counts; or says
/// of each why it does not.
pub(super) fn load(sizes: MapSizes, hooks: &[Hook]) -> Result<Loaded, Vec<(Hook, Error)>> {
    let mut refused = Vec::new();
    let mut kernel = None;
    for rung in programs::rungs(hooks) {
        let loaded = match kernel.get_or_insert_with(Kernel::read) {
            Ok(kernel) => kernel.stand_on(rung, sizes),
            Err(error) => Err(Error::new(error.kind(), chain(error))),
        };
        match loaded {
            Ok(loaded) => return Ok(Loaded { refused, ..loaded }),
            Err(error) => refused.push((rung.hook, error)),
        }
    }
    Err(refused)
}

impl Kernel {
    fn read() -> Result<Self> {
        Ok(Self {
            layout: offsets::read()?,
            btf: aya::Btf::from_sys_fs()
                .map_err(|error| refusal("the kernel's BTF cannot be read", &error))?,
            symbols: Symbols::default(),
        })
    }

    /// Whether the kernel may preempt the programs that count calls, and so skip runs. On
    /// the returns of functions some kernels do, and do not tell.
    fn preempts(&self, rung: &Rung) -> bool {
        rung.hook == Hook::Fentry || self.layout.tracepoints_are_preempted
    }

    /// An error in a kernel that has this symbol.
    fn is_safe_without(&self, symbol: &str) -> Result<()> {
        if self.symbols.has(symbol)? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("this kernel can hang when trampolines are taken off (it has {symbol})"),
            ));
        }
        Ok(())
    }

    /// [`attach_all`], of programs on functions of the prototypes that they were made for.
    fn attach_all(
        &self,
        ebpf: &mut Ebpf,
        probes: &mut Vec<OwnedFd>,
        programs: &[Program],
        doubled: bool,
    ) -> Result<()> {
        for program in programs {
            if let Place::FExit(function, parameters) = program.place {
                match self.layout.parameters(function) {
                    Some(has) if has == parameters => {}
                    Some(_) => {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            format!("this kernel's {function} has not {parameters} parameters"),
                        ));
                    }
                    None => return Err(no_function(function)),
                }
            }
            if matches!(program.place, Place::FExit(..)) && !self.layout.trampolines_are_safe {
                self.is_safe_without(programs::UNSAFE_TRAMPOLINES)?;
            }
        }
        for program in programs {
            if doubled {
                doubles::attach(ebpf, *program, &self.btf)?;
            } else if let Place::KProbe(function) = program.place
                && let Some(address) = self.address(function)?
            {
                probes.push(attach_at(ebpf, program, address)?);
            } else {
                attach_all(ebpf, &[*program], Some(&self.btf), None)?;
            }
        }
        Ok(())
    }

    /// Where a function is that kprobes are put on, in kernels that look long for a name.
    fn address(&self, function: &str) -> Result<Option<u64>> {
        static KNOWN: OnceLock<HashMap<&str, u64>> = OnceLock::new();
        // Of the same age as those whose symbols `receivers` needs.
        if self.layout.no_socket.is_some() {
            return Ok(None);
        }
        let known = match KNOWN.get() {
            Some(known) => known,
            None => {
                let found = self.symbols.addresses(programs::kprobe_functions())?;
                KNOWN.get_or_init(|| found)
            }
        };
        Ok(known.get(function).copied())
    }

    /// Loads and attaches everything with this rung, and tests it.
    fn stand_on(&self, rung: &'static Rung, sizes: MapSizes) -> Result<Loaded> {
        let store = if sizes.in_table || self.layout.storage_is_unsafe_to_list {
            Store::Table
        } else {
            rung.store
        };
        if let Some(symbol) = rung.unsafe_with {
            self.is_safe_without(symbol)?;
        }
        if rung.by_kprobes && !causes::has_kprobes() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this kernel has no kprobes (CONFIG_KPROBES)",
            ));
        }
        let (mut ebpf, cgroup) = self.with_cgroup(rung, sizes, store)?;
        let doubled = self.preempts(rung);
        let mut probes = Vec::new();
        let programs = match &cgroup {
            Ok(_) => rung.programs.to_vec(),
            Err(_) => [rung.without_cgroup, rung.programs].concat(),
        };
        let attached = self.attach_all(&mut ebpf, &mut probes, &programs, doubled);
        attached.map_err(|error| match error.kind() {
            // There is nothing to install.
            ErrorKind::Missing => Error::new(ErrorKind::Unsupported, chain(&error)),
            _ => error,
        })?;
        let (mut unseen, mut awaited, mut there) = (Vec::new(), Vec::new(), Vec::new());
        for path in rung.paths {
            if path.unless.is_some() && there.contains(&path.unless) {
                continue;
            }
            match attach_path(path, |programs| {
                self.attach_all(&mut ebpf, &mut probes, programs, doubled)
            }) {
                Ok(true) => there.push(path.function()),
                Ok(false) => match path.module {
                    // Fexit needs the module's own BTF.
                    Some(module) if is_loaded(module) && !rung.by_kprobes => {
                        unseen.push(format!("{}: it is in a kernel module", path.name));
                    }
                    Some(module) if is_loaded(module) => {}
                    Some(_) if rung.by_kprobes => awaited.push(*path),
                    Some(_) => {
                        unseen.push(format!("{}: its kernel module is not loaded", path.name));
                    }
                    None => {}
                },
                Err(why) => unseen.push(format!("{}: {}", path.name, chain(&why))),
            }
        }
        let closed_ports = match sizes.closed_ports {
            0 => Ok(()),
            _ => self.receivers().and_then(|receivers| {
                closed_ports::attach(&mut ebpf, &self.layout, &receivers, &self.btf)
            }),
        };
        let (lister, kind) = store.lister();
        let sockets = iterate(&mut ebpf, lister, kind, Some(store.map()), &self.btf)?;
        let owners = iterate(&mut ebpf, store.owners(), TASK_FILE, None, &self.btf)?;
        let mut loaded = Loaded {
            doubles_are_preempted: doubles::are_preempted(&ebpf),
            doubles_are_on_returns: doubles::are_on_returns(&ebpf),
            ebpf,
            _probes: probes,
            rung,
            store,
            refused: Vec::new(),
            cgroup,
            tested: Outcome::Passed,
            sockets,
            owners: Arc::new(owners),
            unseen,
            awaited,
            late: Vec::new(),
            closed_ports_unseen: closed_ports.err().map(|why| chain(&why)),
        };
        if doubled {
            missed::begin(&mut loaded.ebpf)?;
        }
        loaded.test()?;
        // Hooks first, then the list of what was there before: nothing falls between.
        loaded.find_owners()?;
        set_counter(&mut loaded.ebpf, counters::SEEDED, 1)?;
        Ok(loaded)
    }

    fn receivers(&self) -> Result<Receivers> {
        closed_ports::receivers(&self.layout, &self.symbols)
    }

    /// The maps, the programs that every rung needs, and those of the cgroup v2 root where
    /// they attach.
    fn with_cgroup(
        &self,
        rung: &Rung,
        sizes: MapSizes,
        store: Store,
    ) -> Result<(Ebpf, Result<PathBuf, String>)> {
        let root = cgroup::root().map_err(|error| chain(&error));
        let root = root.and_then(|path| match File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(format!("{}: {error}", path.display())),
        });
        let why = match root {
            Ok((path, file)) => {
                let mut ebpf = self.open(rung, sizes, store, true)?;
                match attach_all(&mut ebpf, rung.cgroup(store), None, Some(&file)) {
                    Ok(()) => return Ok((ebpf, Ok(path))),
                    Err(error) => chain(&error),
                }
            }
            Err(why) => why,
        };
        Ok((self.open(rung, sizes, store, false)?, Err(why)))
    }

    /// The object with its maps, and the programs that every rung needs.
    fn open(&self, rung: &Rung, sizes: MapSizes, store: Store, with_cgroup: bool) -> Result<Ebpf> {
        // What is below the level is not even in the loaded programs.
        let log_level = log::max_level() as u8;
        let in_table = store == Store::Table;
        let (sockets, claims) = if in_table {
            (sizes.sockets, CLAIMS)
        } else {
            (1, 1)
        };
        let calls = if rung.by_kprobes { CALLS } else { 1 };
        let flags_at = match self.layout.parameters("raw_recvmsg") {
            Some(6) => 4u32,
            _ => 3,
        };
        let doubled = self.preempts(rung);
        let (noted, owed) = if doubled { (NOTED, OWED) } else { (1, 1) };
        let doubles = match (doubled, rung.hook) {
            (false, _) => 0u32,
            (true, Hook::Fentry) => 2,
            (true, _) => 1,
        };
        let receivers = match sizes.closed_ports {
            0 => NO_RECEIVERS,
            // Why there are none is told where the program is to be attached.
            _ => self.receivers().unwrap_or_default(),
        };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&self.btf))
            .override_global("OFFSETS", self.layout.offsets.as_bytes(), true)
            .override_global(
                "RELEASE_SEEN",
                &u32::from(with_cgroup || rung.by_kprobes),
                true,
            )
            .override_global("DOUBLED", &doubles, true)
            .override_global("BY_KPROBES", &u32::from(rung.by_kprobes), true)
            .override_global("RECEIVE_FLAGS", &flags_at, true)
            .override_global("PACKETS_COUNTED", &u32::from(with_cgroup), true)
            .override_global("IN_TABLE", &u32::from(in_table), true)
            .override_global("DNS_WANTED", &sizes.dns_wanted(), true)
            .override_global(
                "NO_SOCKET",
                &self.layout.no_socket.unwrap_or(u32::MAX),
                true,
            )
            .override_global("RECEIVERS", receivers.as_bytes(), true)
            .override_global(aya_log::LEVEL, &log_level, true)
            // One more for `ProcessKey::TEST`.
            .map_max_entries("PROCESSES", sizes.processes.saturating_add(1))
            .map_max_entries("CLOSED", sizes.closed_bytes)
            .map_max_entries("SOCKET_TABLE", sockets)
            .map_max_entries("CLAIMS", claims)
            .map_max_entries("CALLS", calls)
            .map_max_entries("NOTED", noted)
            .map_max_entries("OWED", owed)
            .map_max_entries("FLOWS", 1)
            .map_max_entries("DNS", sizes.dns_bytes.max(4096))
            .map_max_entries("CLOSED_PORTS", sizes.closed_ports.max(1))
            .map_max_entries("EVENTS", sizes.event_bytes)
            .load(OBJECT)
            .map_err(|error| refusal_of_maps(&error))?;
        self_test::make_room(&mut ebpf)?;
        // Before any runs.
        let loaded = load_iterator(&mut ebpf, store.owners(), TASK_FILE, &self.btf)?;
        let info = loaded
            .info()
            .map_err(|error| refusal("bpf_prog_info", &error))?;
        interpreter::refuse(info.size_jitted(), &self.symbols)?;
        attach_all(&mut ebpf, store.lifecycle(), Some(&self.btf), None)?;
        Ok(ebpf)
    }
}

impl Loaded {
    /// Tests whether the rung counts.
    ///
    /// # Errors
    ///
    /// When it does not, with the probable cause.
    pub(super) fn test(&mut self) -> Result<()> {
        self.tested = self_test::run(&mut self.ebpf, self_test::booked)?;
        Ok(())
    }

    /// Attaches the programs of modules that have been loaded meanwhile; only kprobes can be.
    pub(super) fn attach_late(&mut self) -> Result<()> {
        let (loaded, awaited) = self
            .awaited
            .iter()
            .partition(|path| path.module.is_some_and(is_loaded));
        self.awaited = awaited;
        let loaded: Vec<programs::Path> = loaded;
        for path in loaded {
            match attach_path(&path, |programs| {
                attach_all(&mut self.ebpf, programs, None, None)
            }) {
                Ok(true) => self.late.push(path.name),
                Ok(false) => {}
                Err(why) => self.unseen.push(format!("{}: {}", path.name, chain(&why))),
            }
        }
        Ok(())
    }

    /// A map with a handle of its own.
    pub(super) fn handle(&self, name: &str) -> Result<aya::maps::Map> {
        let failed = |error: aya::maps::MapError| {
            Error::new(ErrorKind::Io, format!("{name} cannot be used")).because(error)
        };
        let fd = map(&self.ebpf, name)?.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| Error::io(name, error))?;
        MapData::from_fd(fd)
            .and_then(aya::maps::Map::from_map_data)
            .map_err(failed)
    }

    /// Gives an owner to every socket that has none and that a process holds.
    pub(super) fn find_owners(&self) -> Result<()> {
        self.owners
            .run(|| {})
            .map_err(|error| Error::io("the iterator over open files", error))
    }
}
