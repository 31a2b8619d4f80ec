//! Processes that change their name, by running another program or otherwise, and
//! processes that end.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | tp_btf `task_rename` | `(struct task_struct *task, const char *comm)` | 3.3 |
//! | tp_btf `sched_process_exit` | `(struct task_struct *p, …)` | 2.6 |
//!
//! Writes `PROCESSES`, and only records that are there.
//!
//! Cost of a run, less an empty program's (`cargo xtask bench programs`):
//! `task_rename` 593 ns, `sched_process_exit` 283 ns.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_probe_read_kernel, macros::btf_tracepoint, programs::BtfTracePointContext,
};

use crate::{doubles, kernel::Task, maps::PROCESSES};

/// A thread gets a name; the first thread's is that of the process.
#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task: Task<false> = Task(ctx.arg::<*const c_void>(0));
    let leader = task.leader();
    if task.0 == leader.0
        && let Some(record) = PROCESSES.get_ptr_mut(leader.key())
        // SAFETY: the helper checks the address itself.
        && let Ok(mut comm) = unsafe { bpf_probe_read_kernel(ctx.arg::<*const [u8; 16]>(1)) }
    {
        // The kernel will cut it off here.
        comm[15] = 0;
        // SAFETY: a map value, checked for null.
        unsafe { (*record).comm = comm };
    }
    0
}

/// A thread exits; with the last one, the process.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: Task<false> = Task(ctx.arg::<*const c_void>(0));
    if task.group_is_dead()
        && let Some(record) = PROCESSES.get_ptr_mut(task.leader().key())
    {
        // SAFETY: a map value, checked for null.
        unsafe { (*record).exited = 1 };
    }
    doubles::forget_thread();
    0
}
