//! Attaches programs that count calls together with their doubles, see
//! `netwatch-ebpf/src/doubles.rs`.

use aya::{Ebpf, programs::TracePoint};

use super::{
    attach::{attach_all, find, find_mut},
    order,
    programs::{Place, Program},
};
use crate::{Result, error::chain};

/// The doubles of the programs on calls that can be preempted themselves: one for each hook.
const PREEMPTED_DOUBLES: [&str; 2] = ["sock_send_length_again", "inet_sendmsg_again"];

/// Attaches a program and its double so that the program runs first: the kernel runs
/// those on a tracepoint in the order in which they were attached, and those on the
/// return of a function in the opposite one.
pub(super) fn attach(ebpf: &mut Ebpf, program: Program, btf: &aya::Btf) -> Result<()> {
    let btf = Some(btf);
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

/// Whether programs that count the calls that others are skipped for can be skipped as well.
pub(super) fn are_preempted(ebpf: &Ebpf) -> bool {
    PREEMPTED_DOUBLES.iter().any(|name| {
        let program = ebpf.program(name);
        program.is_some_and(|program| program.fd().is_ok())
    })
}
