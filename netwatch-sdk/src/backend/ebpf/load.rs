//! Loads the object, climbs the ladder, attaches, and lists the older sockets.

use std::{cell::OnceCell, fs::File, os::fd::AsFd as _, path::PathBuf, sync::Arc};

use aya::{
    Ebpf, EbpfLoader,
    maps::MapData,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, FExit, Iter, KProbe, SockOps,
        TracePoint,
    },
};
use netwatch_common::{closed_port, counters, dns};
use zerocopy::IntoBytes as _;

use super::{
    causes, cgroup, interpreter,
    maps::set_counter,
    missed,
    object::OBJECT,
    offsets::{self, Layout},
    order,
    programs::{self, Place, Program, Rung, Store},
    refusal::{refusal, refusal_of_maps},
    self_test::{self, Outcome},
    symbols::Symbols,
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
    /// Bytes of rows of DNS messages likewise; 0 when they are not wanted.
    pub(crate) dns_bytes: u32,
    /// DNS messages are wanted only while someone listens to them.
    pub(crate) dns_while_told: bool,
    /// Attempts at closed ports between two readings; 0 when they are not wanted.
    pub(crate) closed_ports: u32,
    /// Bytes of events that nobody has read yet; a power of two.
    pub(crate) event_bytes: u32,
}

impl Default for MapSizes {
    fn default() -> Self {
        Self {
            processes: 16_384,
            sockets: 65_536,
            in_table: false,
            closed_bytes: 4 << 20,
            dns_bytes: 2 << 20,
            dns_while_told: false,
            closed_ports: 4096,
            event_bytes: 2 << 20,
        }
    }
}

impl MapSizes {
    fn dns_wanted(self) -> u32 {
        match (self.dns_bytes, self.dns_while_told) {
            (0, _) => dns::NEVER,
            (_, true) => dns::WHILE_TOLD,
            (_, false) => dns::ALWAYS,
        }
    }
}

const NO_RECEIVERS: [[u64; 2]; closed_port::RECEIVERS] = [[0; 2]; closed_port::RECEIVERS];

/// Sockets that can be getting an owner at the same time.
const CLAIMS: u32 = 1024;
/// Threads that can be in a function whose return is probed, at the same time.
const CALLS: u32 = 4096;
/// Threads that programs with doubles can note. They come and go, and take memory then.
const NOTED: u32 = 65_536;
/// Sockets whose records can lack bytes of a call at the same time.
const OWED: u32 = 4096;

/// The rest of `kfree_skb` where the compiler put its beginning elsewhere: the tracepoint then
/// has that beginning for the place where a packet is dropped.
const SPLIT: &str = "kfree_skb.part.0";
/// The kind of iterator over open files.
const TASK_FILE: &str = "task_file";

/// The doubles of the programs on calls that can be preempted themselves: one for each hook.
const PREEMPTED_DOUBLES: [&str; 2] = ["sock_send_length_again", "inet_sendmsg_again"];

/// Programs that are attached and were tested; they are detached when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
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
    /// What the rung does not see here, and why.
    pub(super) unseen: Vec<String>,
    /// Why attempts at closed ports are not seen, if they should be.
    pub(super) closed_ports_unseen: Option<String>,
}

/// What the running kernel says of itself, large, and needed at the start only.
struct Kernel {
    layout: Layout,
    btf: aya::Btf,
    symbols: Symbols,
    receivers: OnceCell<[[u64; 2]; closed_port::RECEIVERS]>,
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
            receivers: OnceCell::new(),
        })
    }

    /// Whether the kernel may preempt the programs that count calls, and so skip runs. On
    /// the returns of functions some kernels do, and do not tell.
    fn preempts(&self, rung: &Rung) -> bool {
        rung.hook == Hook::Fentry || self.layout.tracepoints_are_preempted
    }

    /// [`attach_all`], of programs on functions of the prototypes that they were made for.
    fn attach_all(&self, ebpf: &mut Ebpf, programs: &[Program], doubled: bool) -> Result<()> {
        for program in programs {
            if let Place::FExit(function, parameters) = program.place
                && self.layout.parameters(function) != Some(parameters)
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("this kernel has no {function} with {parameters} parameters"),
                ));
            }
        }
        if !doubled {
            return attach_all(ebpf, programs, Some(&self.btf), None);
        }
        for program in programs {
            self.attach_with_double(ebpf, *program)?;
        }
        Ok(())
    }

    /// Attaches a program and its double so that the program runs first: the kernel runs
    /// those on a tracepoint in the order in which they were attached, and those on the
    /// return of a function in the opposite one.
    fn attach_with_double(&self, ebpf: &mut Ebpf, program: Program) -> Result<()> {
        let btf = Some(&self.btf);
        let Some(double) = program.double() else {
            return attach_all(ebpf, &[program], btf, None);
        };
        let is_last = matches!(program.place, Place::FExit(..));
        if !is_last {
            attach_all(ebpf, &[program], btf, None)?;
        }
        let has_double = match program.unpreempted_double() {
            // A function returns before the tracepoint, whatever was attached when.
            Some(double) => attach_unpreempted(ebpf, double, !is_last)?,
            None => false,
        };
        if !has_double {
            attach_all(ebpf, &[double], btf, None)?;
        }
        if is_last {
            attach_all(ebpf, &[program], btf, None)?;
        }
        Ok(())
    }

    /// Loads and attaches everything with this rung, and tests it.
    fn stand_on(&self, rung: &'static Rung, sizes: MapSizes) -> Result<Loaded> {
        let store = if sizes.in_table || self.layout.storage_is_unsafe_to_list {
            Store::Table
        } else {
            rung.store
        };
        if let Some(symbol) = rung.unsafe_with
            && self.symbols.has(symbol)?
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("this kernel can hang when trampolines are taken off (it has {symbol})"),
            ));
        }
        if rung.by_kprobes && !causes::has_kprobes() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this kernel has no kprobes (CONFIG_KPROBES)",
            ));
        }
        let (mut ebpf, cgroup) = self.with_cgroup(rung, sizes, store)?;
        let doubled = self.preempts(rung);
        self.attach_all(&mut ebpf, rung.programs, doubled)?;
        let mut unseen = Vec::new();
        for path in rung.paths {
            if !self.symbols.has(path.function)? {
                if path.in_module {
                    unseen.push(format!("{}: its kernel module is not loaded", path.name));
                }
            } else if let Err(why) = self.attach_all(&mut ebpf, path.programs, doubled) {
                unseen.push(format!("{}: {}", path.name, chain(&why)));
            }
        }
        let closed_ports = match sizes.closed_ports {
            0 => Ok(()),
            _ => self.watch_closed_ports(&mut ebpf),
        };
        let (lister, kind) = store.lister();
        let sockets = iterate(&mut ebpf, lister, kind, Some(store.map()), &self.btf)?;
        let owners = iterate(&mut ebpf, store.owners(), TASK_FILE, None, &self.btf)?;
        let is_loaded = |name| {
            ebpf.program(name)
                .is_some_and(|program| program.fd().is_ok())
        };
        let doubles_are_preempted = PREEMPTED_DOUBLES.iter().any(|name| is_loaded(name));
        let mut loaded = Loaded {
            ebpf,
            doubles_are_preempted,
            rung,
            store,
            refused: Vec::new(),
            cgroup,
            tested: Outcome::Passed,
            sockets,
            owners: Arc::new(owners),
            unseen,
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

    /// The functions that drop a packet to a closed port, where the kernel does not say why
    /// it drops one; zeros where it does.
    fn receivers(&self) -> Result<[[u64; 2]; closed_port::RECEIVERS]> {
        if self.layout.no_socket.is_some() {
            return Ok(NO_RECEIVERS);
        }
        if let Some(receivers) = self.receivers.get() {
            return Ok(*receivers);
        }
        let receivers = self.symbols.extents(programs::RECEIVERS)?;
        Ok(*self.receivers.get_or_init(|| receivers))
    }

    fn watch_closed_ports(&self, ebpf: &mut Ebpf) -> Result<()> {
        if self.layout.no_socket.is_none() && self.symbols.has(SPLIT)? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "this kernel does not say why it drops packets (Linux 5.17 does), nor where \
                     (it has {SPLIT})"
                ),
            ));
        }
        if self.layout.no_socket.is_none() && self.receivers()? == NO_RECEIVERS {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this kernel does not say why it drops packets (Linux 5.17 does), and hides \
                 where its functions are (kernel.kptr_restrict)",
            ));
        }
        self.attach_all(ebpf, programs::CLOSED_PORTS, false)
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

/// Loads an iterator program, once.
fn load_iterator<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
    kind: &str,
    btf: &aya::Btf,
) -> Result<&'a Iter> {
    let program = find_mut::<Iter>(ebpf, name)?;
    if program.fd().is_err() {
        program
            .load(kind, btf)
            .map_err(|error| refusal(&format!("iterator {kind} ({name})"), &error))?;
    }
    Ok(program)
}

fn iterate(
    ebpf: &mut Ebpf,
    name: &str,
    kind: &str,
    over: Option<&str>,
    btf: &aya::Btf,
) -> Result<IteratorLink> {
    let what = format!("iterator {kind} ({name})");
    load_iterator(ebpf, name, kind, btf)?;
    let program: &Iter = find(ebpf, name)?;
    let program = program.fd().map_err(|error| refusal(&what, &error))?;
    let map = over.map(|name| map(ebpf, name)).transpose()?;
    IteratorLink::attach(program.as_fd(), map.map(|map| map.fd().as_fd()))
        .map_err(|error| refusal(&what, &error))
}

/// Attaches a double that the kernel does not preempt, and says whether it is there: it may
/// be for another program already, and it must run after its program.
fn attach_unpreempted(ebpf: &mut Ebpf, double: Program, order_matters: bool) -> Result<bool> {
    if find::<TracePoint>(ebpf, double.name)?.fd().is_ok() {
        return Ok(true);
    }
    let attached = attach_all(ebpf, &[double], None, None);
    let kept = attached.and_then(|()| Ok(!order_matters || order::is_kept(ebpf)?));
    let why = match kept {
        Ok(true) => return Ok(true),
        Ok(false) => "others were there before".to_owned(),
        Err(error) => chain(&error),
    };
    log::info!("{}: {why}", double.name);
    // Where it could not be loaded there is nothing to unload.
    let _ = find_mut::<TracePoint>(ebpf, double.name)?.unload();
    Ok(false)
}

/// Loads and attaches programs, or names the one that fails. Those of a cgroup need it,
/// others the kernel's BTF.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    programs: &[Program],
    btf: Option<&aya::Btf>,
    cgroup: Option<&File>,
) -> Result<()> {
    for program in programs {
        attach(ebpf, program, btf, cgroup)
            .map_err(|error| refusal(&format!("{} ({})", program.name, program.place), &*error))?;
    }
    Ok(())
}

fn attach(
    ebpf: &mut Ebpf,
    program: &Program,
    btf: Option<&aya::Btf>,
    cgroup: Option<&File>,
) -> Result<(), Box<dyn std::error::Error>> {
    let no_cgroup = "no cgroup v2";
    match program.place {
        Place::TpBtf(tracepoint) => {
            let found = find_mut::<BtfTracePoint>(ebpf, program.name)?;
            found.load(tracepoint, btf.ok_or("no BTF")?)?;
            found.attach()?;
        }
        Place::TracePoint(tracepoint) => {
            let found = find_mut::<TracePoint>(ebpf, program.name)?;
            found.load()?;
            found.attach("sock", tracepoint)?;
        }
        Place::FExit(function, _) => {
            let found = find_mut::<FExit>(ebpf, program.name)?;
            found.load(function, btf.ok_or("no BTF")?)?;
            found.attach()?;
        }
        Place::KProbe(function) => {
            let found = find_mut::<KProbe>(ebpf, program.name)?;
            // One program is on several functions.
            if found.fd().is_err() {
                found.load()?;
            }
            found.attach(function, 0)?;
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

pub(super) fn missing(name: &str) -> Error {
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
