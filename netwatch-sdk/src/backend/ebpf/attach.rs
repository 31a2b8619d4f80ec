//! Loads programs of the object and attaches them, each where it belongs.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, FExit, Iter, KProbe, ProbeKind,
        ProgramError, SockOps, TracePoint,
    },
    sys::SyscallError,
};

use super::{
    maps::map,
    object::missing,
    probe,
    programs::{Path, Place, Program},
    refusal::refusal,
    syscall::IteratorLink,
};
use crate::{Error, ErrorKind, Result};

/// Attaches the programs of a path, and says whether the kernel has its function.
pub(super) fn attach_path(
    path: &Path,
    mut attach_all: impl FnMut(&[Program]) -> Result<()>,
) -> Result<bool> {
    let (first, others) = path.programs.split_at(1.min(path.programs.len()));
    match attach_all(first) {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
        Err(error) => Err(error),
        Ok(()) => attach_all(others).map(|()| true),
    }
}

/// Loads and attaches programs, or names the one that fails. Those of a cgroup need it,
/// others the kernel's BTF.
///
/// # Errors
///
/// `Missing` where the kernel has no such function, now.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    programs: &[Program],
    btf: Option<&aya::Btf>,
    cgroup: Option<&File>,
) -> Result<()> {
    for program in programs {
        attach(ebpf, program, btf, cgroup).map_err(|error| {
            if let Place::KProbe(function) = program.place
                && has_no_function(&*error)
            {
                return no_function(function);
            }
            refusal(&format!("{} ({})", program.name, program.place), &*error)
        })?;
    }
    Ok(())
}

/// Of a kprobe.
fn has_no_function(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(ProgramError::SyscallError(SyscallError { call, io_error })) = error.downcast_ref()
    else {
        return false;
    };
    *call == "perf_event_open" && io_error.raw_os_error() == Some(libc::ENOENT)
}

/// Loads a program, unless it is, and attaches it to a function by its address.
pub(super) fn attach_at(ebpf: &mut Ebpf, program: &Program, address: u64) -> Result<OwnedFd> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        refusal(&format!("{} ({})", program.name, program.place), error)
    };
    let found = find_mut::<KProbe>(ebpf, program.name)?;
    if found.fd().is_err() {
        found.load().map_err(|error| failed(&error))?;
    }
    let on_return = matches!(found.kind(), ProbeKind::Return);
    let fd = found.fd().map_err(|error| failed(&error))?;
    probe::attach(fd.as_fd(), address, on_return).map_err(|error| failed(&error))
}

/// The error of a function that the kernel does not have, or not yet.
pub(super) fn no_function(function: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("this kernel has no {function}"))
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

/// Loads an iterator program, once.
pub(super) fn load_iterator<'a>(
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

/// Loads an iterator program and attaches it, to a map if one is given.
pub(super) fn iterate(
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

pub(super) fn find_mut<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| <&mut P>::try_from(program).ok())
        .ok_or_else(|| missing(name))
}

pub(super) fn find<'a, P>(ebpf: &'a Ebpf, name: &str) -> Result<&'a P>
where
    &'a P: TryFrom<&'a aya::programs::Program>,
{
    ebpf.program(name)
        .and_then(|program| <&P>::try_from(program).ok())
        .ok_or_else(|| missing(name))
}
