//! Processes that change their program, and processes that end.
//!
//! | hook | kernel prototype | since |
//! |---|---|---|
//! | tp_btf `sched_process_exec` | `(struct task_struct *p, pid_t old_pid, …)` | 3.4 |
//! | tp_btf `sched_process_exit` | `(struct task_struct *p, …)` | 2.6 |
//!
//! Writes `PROCESSES`, and only records that are there.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{kernel::Task, maps::PROCESSES};

/// A process runs another program: it has another name.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    update(Task(ctx.arg::<*const core::ffi::c_void>(0)).leader(), false);
    0
}

/// A thread exits; with the last one, the process.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg::<*const core::ffi::c_void>(0));
    if task.group_is_dead() {
        update(task.leader(), true);
    }
    0
}

#[inline(always)]
fn update(leader: Task, exited: bool) {
    if let Some(record) = PROCESSES.get_ptr_mut(leader.key()) {
        // SAFETY: a map value, checked for null.
        unsafe {
            (*record).comm = leader.comm();
            if exited {
                (*record).exited = 1;
            }
        }
    }
}
