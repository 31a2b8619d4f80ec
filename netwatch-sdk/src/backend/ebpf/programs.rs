//! The kernel programs and what each is for, as tables.
//!
//! A rung is one way of counting payload bytes. The ladder is climbed from the top:
//! the first rung whose every program loads and attaches is used. A program that a rung
//! can do without costs the path of bytes that it sees, and the status says so. The last,
//! `cgroup`, is a table of its own: it shares no program with the others.

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

/// Where the records of sockets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// In the sockets: `SOCKETS`.
    Sockets,
    /// In a table by address: `SOCKET_TABLE`.
    Table,
}

impl Store {
    /// The map.
    pub(super) const fn map(self) -> &'static str {
        match self {
            Self::Sockets => "SOCKETS",
            Self::Table => "SOCKET_TABLE",
        }
    }

    /// The iterator program that lists it, and the kind of iterator.
    pub(super) const fn lister(self) -> (&'static str, &'static str) {
        match self {
            Self::Sockets => ("list_sockets", "bpf_sk_storage_map"),
            Self::Table => ("list_table", "bpf_map_elem"),
        }
    }

    /// The programs that every rung with it needs.
    pub(super) const fn lifecycle(self) -> &'static [Program] {
        match self {
            Self::Sockets => LIFECYCLE,
            Self::Table => LIFECYCLE_TABLE,
        }
    }

    /// The programs of the cgroup v2 root.
    pub(super) const fn cgroup(self) -> &'static [Program] {
        match (self, CGROUP) {
            (Self::Sockets, [all @ .., _]) => all,
            _ => CGROUP,
        }
    }

    /// The iterator program over open files.
    pub(super) const fn owners(self) -> &'static str {
        match self {
            Self::Sockets => "own_sockets",
            Self::Table => "own_sockets_table",
        }
    }
}

/// One way of counting payload bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung {
    /// Its name.
    pub(super) hook: Hook,
    /// Where it keeps records.
    pub(super) store: Store,
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
    store: Store::Sockets,
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

/// Beginnings and ends of TCP connections and processes; needed with every rung. Ends
/// come before beginnings: a record whose socket ends unseen stays in the table.
const LIFECYCLE: &[Program] = &[
    tracepoint("tcp_destroy_sock"),
    tracepoint("inet_sock_set_state"),
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

const LIFECYCLE_TABLE: &[Program] = &[
    tracepoint("tcp_destroy_sock"),
    Program {
        name: "inet_sock_set_state_table",
        place: Place::TpBtf("inet_sock_set_state"),
    },
    tracepoint("task_rename"),
    tracepoint("sched_process_exit"),
];

/// What the cgroup v2 root adds: packets, and the ends of other sockets. With the table,
/// the last one gives accepted sockets their cookies.
const CGROUP: &[Program] = &[
    Program {
        name: "sock_release",
        place: Place::CgroupSock,
    },
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
        name: "sock_accept",
        place: Place::SockOps,
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
