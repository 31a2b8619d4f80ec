//! Attaches programs that count calls together with their doubles, see
//! `netwatch-ebpf/src/doubles.rs`.

use aya::{
    Ebpf,
    programs::{BtfTracePoint, TracePoint},
};

use super::{
    attach::{attach_all, find, find_mut},
    order,
    programs::{Place, Program},
};
use crate::{Error, ErrorKind, Result, error::chain};

/// The doubles of the programs on calls that can be preempted themselves: one for each place.
const PREEMPTED_DOUBLES: [&str; 2] = ["sock_send_length_again", "inet_sendmsg_again"];

/// Attaches a program and the best of its doubles so that the program runs first: the kernel
/// runs those on a tracepoint in the order in which they were attached, and those on the
/// return of a function in the opposite one. A function returns before the tracepoint.
pub(super) fn attach(ebpf: &mut Ebpf, program: Program, btf: &aya::Btf) -> Result<()> {
    let is_last = program.is_on_return();
    if !is_last {
        attach_all(ebpf, &[program], Some(btf), None)?;
    }
    let mut attached = Ok(());
    for double in program.doubles() {
        attached = match double.place {
            Place::TracePoint(_) => attach_unpreempted(ebpf, double, !is_last),
            _ => attach_preempted(ebpf, double, btf),
        };
        match &attached {
            Ok(()) => break,
            Err(why) => log::info!("{}: {}", double.name, chain(why)),
        }
    }
    attached?;
    if is_last {
        attach_all(ebpf, &[program], Some(btf), None)?;
    }
    Ok(())
}

/// Attaches a double, unless it is there for another program already.
fn attach_preempted(ebpf: &mut Ebpf, double: Program, btf: &aya::Btf) -> Result<()> {
    if matches!(double.place, Place::TpBtf(_))
        && find::<BtfTracePoint>(ebpf, double.name)?.fd().is_ok()
    {
        return Ok(());
    }
    attach_all(ebpf, &[double], Some(btf), None)
}

/// The same of one that the kernel does not preempt. It must run after its program.
fn attach_unpreempted(ebpf: &mut Ebpf, double: Program, order_matters: bool) -> Result<()> {
    if find::<TracePoint>(ebpf, double.name)?.fd().is_ok() {
        return Ok(());
    }
    let attached = attach_all(ebpf, &[double], None, None);
    let kept = attached.and_then(|()| Ok(!order_matters || order::is_kept(ebpf)?));
    let why = match kept {
        Ok(true) => return Ok(()),
        Ok(false) => Error::new(ErrorKind::Unsupported, "others were there before"),
        Err(error) => error,
    };
    // Where it could not be loaded there is nothing to unload.
    let _ = find_mut::<TracePoint>(ebpf, double.name)?.unload();
    Err(why)
}

/// Whether programs that count the calls that others are skipped for can be skipped as well.
pub(super) fn are_preempted(ebpf: &Ebpf) -> bool {
    PREEMPTED_DOUBLES.iter().any(|name| {
        let program = ebpf.program(name);
        program.is_some_and(|program| program.fd().is_ok())
    })
}

/// Whether doubles are on the returns where their programs are.
pub(super) fn are_on_returns(ebpf: &Ebpf) -> bool {
    let program = ebpf.program("inet_sendmsg_again");
    program.is_some_and(|program| program.fd().is_ok())
}
