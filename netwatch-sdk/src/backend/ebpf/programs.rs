//! The kernel programs and what each is for, as tables.
//!
//! A rung is one way of counting payload bytes. The ladder is climbed from the top:
//! the first rung whose every program loads and attaches is used. The last, `cgroup`, is
//! a table of its own: it shares no program with the others.

use aya::programs::CgroupSkbAttachType;

use crate::collector::Hook;

/// How a program is hooked into the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A tracepoint, by its BTF type.
    TpBtf(&'static str),
    /// Packets of a cgroup.
    CgroupSkb(CgroupSkbAttachType),
    /// Sockets of a cgroup; the object says at which moment.
    CgroupSock,
    /// TCP connections of a cgroup.
    SockOps,
}

/// A program of the object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Its name in the object.
    pub(super) name: &'static str,
    /// Where it goes.
    pub(super) place: Place,
}

/// One way of counting payload bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung {
    /// Its name.
    pub(super) hook: Hook,
    /// All of them must attach.
    pub(super) programs: &'static [Program],
}

const fn tracepoint(name: &'static str) -> Program {
    Program {
        name,
        place: Place::TpBtf(name),
    }
}

/// The ways of counting payload bytes, best first.
pub(super) const RUNGS: &[Rung] = &[Rung {
    hook: Hook::TpBtf,
    programs: &[
        tracepoint("sock_send_length"),
        tracepoint("sock_recv_length"),
        tracepoint("tcp_rcv_space_adjust"),
    ],
}];

/// The rungs of some hooks, best first.
pub(super) fn rungs(hooks: &[Hook]) -> impl Iterator<Item = &'static Rung> {
    RUNGS.iter().filter(|rung| hooks.contains(&rung.hook))
}

/// Beginnings and ends of TCP connections and processes; needed with every rung.
pub(super) const LIFECYCLE: &[Program] = &[
    tracepoint("inet_sock_set_state"),
    tracepoint("tcp_destroy_sock"),
    tracepoint("task_rename"),
    tracepoint("sched_process_exit"),
];

/// All that the rung `cgroup` has, in place of any of the others.
pub(super) const FLOWS: &[Program] = &[
    Program {
        name: "flow_create",
        place: Place::CgroupSock,
    },
    Program {
        name: "flow_release",
        place: Place::CgroupSock,
    },
    Program {
        name: "flow_state",
        place: Place::SockOps,
    },
    Program {
        name: "flow_ingress",
        place: Place::CgroupSkb(CgroupSkbAttachType::Ingress),
    },
    Program {
        name: "flow_egress",
        place: Place::CgroupSkb(CgroupSkbAttachType::Egress),
    },
];

/// What the cgroup v2 root adds: packets, and the ends of other sockets.
pub(super) const CGROUP: &[Program] = &[
    Program {
        name: "ingress",
        place: Place::CgroupSkb(CgroupSkbAttachType::Ingress),
    },
    Program {
        name: "egress",
        place: Place::CgroupSkb(CgroupSkbAttachType::Egress),
    },
    Program {
        name: "sock_create",
        place: Place::CgroupSock,
    },
    Program {
        name: "sock_release",
        place: Place::CgroupSock,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_is_a_rung_in_the_same_order() {
        let rungs = RUNGS.iter().map(|rung| rung.hook);
        let rungs: Vec<Hook> = rungs.chain([Hook::Cgroup]).collect();
        let hooks: Vec<Hook> = Hook::ALL.iter().map(|(_, hook)| *hook).collect();
        assert_eq!(rungs, hooks);
    }
}
