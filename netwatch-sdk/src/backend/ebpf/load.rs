//! Loads the object, climbs the ladder, attaches, and lists the older sockets.

use std::{fs::File, io, os::fd::AsFd as _, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, Iter, ProgramError},
};
use netwatch_common::counters;
use zerocopy::IntoBytes as _;

use super::{
    capabilities, cgroup,
    object::OBJECT,
    offsets,
    programs::{CGROUP, Hook, LIFECYCLE, Program, RUNGS, Rung},
    syscall::IteratorLink,
};
use crate::{Error, ErrorKind, Result, error::chain};

/// Sizes of the maps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapSizes {
    /// Processes with a record at the same time.
    pub(crate) processes: u32,
    /// Bytes of rows of closed sockets between two readings; a power of two.
    pub(crate) closed_bytes: u32,
    /// Bytes of rows of DNS messages likewise; 0 when they are not wanted.
    pub(crate) dns_bytes: u32,
}

impl Default for MapSizes {
    fn default() -> Self {
        Self {
            processes: 16_384,
            closed_bytes: 4 << 20,
            dns_bytes: 2 << 20,
        }
    }
}

/// Programs that are attached; they are detached when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) rung: &'static Rung,
    /// Why better rungs than `rung` do not run.
    pub(super) refused: Vec<(&'static str, String)>,
    /// Where packets are counted, or why they are not.
    pub(super) cgroup: Result<PathBuf, String>,
    pub(super) sockets: IteratorLink,
    owners: IteratorLink,
}

/// Loads and attaches everything.
pub(super) fn load(sizes: MapSizes) -> Result<Loaded> {
    let offsets = offsets::read()?;
    let btf = read_btf()?;
    let root = cgroup::root().map_err(|error| chain(&error));
    let (root, mut why_not) = match root.and_then(|path| {
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path, file))
    }) {
        Ok(found) => (Some(found), String::new()),
        Err(reason) => (None, reason),
    };
    // What is below the level is not even in the loaded programs.
    let log_level = log::max_level() as u8;
    let open = |release_seen: u32| {
        EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("OFFSETS", offsets.as_bytes(), true)
            .override_global("RELEASE_SEEN", &release_seen, true)
            .override_global("DNS_WANTED", &u32::from(sizes.dns_bytes > 0), true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("PROCESSES", sizes.processes)
            .map_max_entries("CLOSED", sizes.closed_bytes)
            .map_max_entries("DNS", sizes.dns_bytes.max(4096))
            .load(OBJECT)
            .map_err(|error| refusal("the kernel refuses the maps", &error))
    };
    let mut ebpf = open(u32::from(root.is_some()))?;
    let mut path = None;
    if let Some((cgroup_path, file)) = root {
        match attach_all(&mut ebpf, CGROUP, &btf, Some(&file)) {
            Ok(()) => path = Some(cgroup_path),
            Err(error) => {
                why_not = chain(&error);
                ebpf = open(0)?;
            }
        }
    }
    let cgroup = path.ok_or(why_not);

    let mut refused = Vec::new();
    let mut rung = None;
    for candidate in RUNGS {
        match attach_all(&mut ebpf, candidate.programs, &btf, None) {
            Ok(()) => {
                rung = Some(candidate);
                break;
            }
            Err(error) => {
                refused.push((candidate.name, chain(&error)));
                if error.kind() == ErrorKind::Permission {
                    return Err(error);
                }
            }
        }
    }
    let rung = rung.ok_or_else(|| {
        let reasons: Vec<String> = refused
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "no hook for payload bytes attaches ({})",
                reasons.join("; ")
            ),
        )
    })?;
    attach_all(&mut ebpf, LIFECYCLE, &btf, None)?;

    let sockets = iterate(
        &mut ebpf,
        "list_sockets",
        "bpf_sk_storage_map",
        Some("SOCKETS"),
        &btf,
    )?;
    let owners = iterate(&mut ebpf, "own_sockets", "task_file", None, &btf)?;
    let mut loaded = Loaded {
        ebpf,
        rung,
        refused,
        cgroup,
        sockets,
        owners,
    };
    // Hooks first, then the list of what was there before: nothing falls between.
    loaded.find_owners()?;
    let seeded = loaded
        .ebpf
        .map_mut("COUNTERS")
        .and_then(|map| Array::<_, u64>::try_from(map).ok())
        .map(|mut map| map.set(counters::SEEDED, 1, 0));
    match seeded {
        Some(Ok(())) => Ok(loaded),
        Some(Err(error)) => Err(refusal("COUNTERS cannot be written", &error)),
        None => Err(missing("COUNTERS")),
    }
}

/// Loads and attaches a rung's programs, and detaches them again.
pub(super) fn try_rung(rung: &Rung) -> Result<()> {
    let offsets = offsets::read()?;
    let btf = read_btf()?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", offsets.as_bytes(), true)
        .load(OBJECT)
        .map_err(|error| refusal("the kernel refuses the maps", &error))?;
    attach_all(&mut ebpf, rung.programs, &btf, None)
}

fn read_btf() -> Result<aya::Btf> {
    aya::Btf::from_sys_fs().map_err(|error| refusal("the kernel's BTF cannot be read", &error))
}

impl Loaded {
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
        attach(ebpf, program, btf, cgroup)
            .map_err(|error| refusal(&format!("{} ({:?})", program.name, program.hook), &*error))?;
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
    match program.hook {
        Hook::TpBtf(tracepoint) => {
            let found = find_mut::<BtfTracePoint>(ebpf, program.name)?;
            found.load(tracepoint, btf)?;
            found.attach()?;
        }
        Hook::CgroupSkb(kind) => {
            let found = find_mut::<CgroupSkb>(ebpf, program.name)?;
            found.load()?;
            found.attach(cgroup.ok_or(no_cgroup)?, kind, CgroupAttachMode::Single)?;
        }
        Hook::CgroupSock => {
            let found = find_mut::<CgroupSock>(ebpf, program.name)?;
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
    let mut lines = log.lines().rev().filter(|line| {
        let is_summary = ["processed ", "verification", "stack depth"]
            .iter()
            .any(|start| line.starts_with(start));
        !line.is_empty() && !is_summary
    });
    lines.next().map(str::to_owned)
}
