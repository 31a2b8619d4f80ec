//! The kernel programs and what each is for, as tables.
//!
//! A rung is one way of counting payload bytes. The ladder is climbed from the top:
//! the first rung whose every program loads and attaches is used. A program that a rung
//! can do without costs the path of bytes that it sees, and the status says so. The last,
//! `cgroup`, is a table of its own: it shares no program with the others.

mod paths;

use std::fmt;

use aya::programs::CgroupSkbAttachType;

pub(super) use self::paths::Path;
use self::paths::{KPROBE_PATHS, SPLICE_READ};
use crate::collector::Hook;

/// How a program is hooked into the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A tracepoint, by its BTF type.
    TpBtf(&'static str),
    /// A tracepoint of sockets, by a file of tracefs; the kernel does not preempt it.
    TracePoint(&'static str),
    /// The return of a function that has so many parameters.
    FExit(&'static str, usize),
    /// The entry of a function, or its return: the object says which.
    KProbe(&'static str),
    /// Packets of a cgroup.
    CgroupSkb(CgroupSkbAttachType),
    /// Sockets of a cgroup; the object says at which moment.
    CgroupSock,
    /// TCP connections of a cgroup.
    SockOps,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TpBtf(tracepoint) => write!(f, "tp_btf {tracepoint}"),
            Self::TracePoint(tracepoint) => write!(f, "tracepoint {tracepoint}"),
            Self::FExit(function, _) => write!(f, "fexit {function}"),
            Self::KProbe(function) => write!(f, "kprobe {function}"),
            Self::CgroupSkb(CgroupSkbAttachType::Ingress) => f.write_str("cgroup_skb ingress"),
            Self::CgroupSkb(CgroupSkbAttachType::Egress) => f.write_str("cgroup_skb egress"),
            Self::CgroupSock => f.write_str("cgroup/sock"),
            Self::SockOps => f.write_str("sockops"),
        }
    }
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
    /// The symbol of kernels where its programs cannot be taken off without risk.
    pub(super) unsafe_with: Option<&'static str>,
    /// Kprobes see the ends of all sockets.
    pub(super) by_kprobes: bool,
    /// All of them must attach.
    pub(super) programs: &'static [Program],
    /// And these where the programs of the cgroup v2 root do not.
    pub(super) without_cgroup: &'static [Program],
    /// What it can do without.
    pub(super) paths: &'static [Path],
}

impl Rung {
    /// The programs on calls and ends that it can have, whatever the host.
    pub(super) fn all_programs(&self) -> impl Iterator<Item = &'static Program> + use<> {
        let paths = self.paths.iter().flat_map(|path| path.programs);
        self.programs.iter().chain(self.without_cgroup).chain(paths)
    }

    /// The programs of the cgroup v2 root.
    pub(super) const fn cgroup(&self, store: Store) -> &'static [Program] {
        match (self.by_kprobes, store) {
            (true, _) => CGROUP_BESIDE_KPROBES,
            (false, Store::Sockets) => CGROUP,
            (false, Store::Table) => CGROUP_TABLE,
        }
    }
}

/// Programs that count calls, and their doubles, best first; see `netwatch-ebpf/src/doubles.rs`.
/// Those of `_always` need tracefs and are not preempted. On a tracepoint of calls (Linux 6.3)
/// a double also makes up for what a program on a return is left out of.
const DOUBLES: &[(&str, &[&str])] = &[
    (
        "sock_send_length",
        &["sock_send_length_always", "sock_send_length_again"],
    ),
    (
        "sock_recv_length",
        &["sock_recv_length_always", "sock_recv_length_again"],
    ),
    ("tcp_rcv_space_adjust", &["tcp_rcv_space_adjust_again"]),
    (
        "tcp_rcv_space_adjust_table",
        &["tcp_rcv_space_adjust_table_again"],
    ),
    (
        "inet_sendmsg",
        &[
            "sock_send_length_always",
            "sock_send_length_again",
            "inet_sendmsg_again",
        ],
    ),
    (
        "inet_recvmsg",
        &[
            "sock_recv_length_always",
            "sock_recv_length_again",
            "inet_recvmsg_again",
        ],
    ),
    (
        "inet6_sendmsg",
        &[
            "sock_send_length_always",
            "sock_send_length_again",
            "inet6_sendmsg_again",
        ],
    ),
    (
        "inet6_recvmsg",
        &[
            "sock_recv_length_always",
            "sock_recv_length_again",
            "inet6_recvmsg_again",
        ],
    ),
];

impl Program {
    /// What does its work where it does not run, best first; the last is where it is.
    pub(super) fn doubles(self) -> impl Iterator<Item = Self> {
        let found = DOUBLES.iter().find(|(name, _)| *name == self.name);
        let names = found.map_or(&[][..], |(_, doubles)| doubles);
        names.iter().map(move |name| {
            let place = match (name.strip_suffix("_always"), name.strip_suffix("_again")) {
                (Some(tracepoint), _) => Place::TracePoint(tracepoint),
                (_, Some(tracepoint)) if self.is_on_return() && tracepoint != self.name => {
                    Place::TpBtf(tracepoint)
                }
                _ => self.place,
            };
            Self { name, place }
        })
    }

    /// Whether it is on the return of a function.
    pub(super) const fn is_on_return(self) -> bool {
        matches!(self.place, Place::FExit(..))
    }
}

const fn kprobe(name: &'static str, function: &'static str) -> Program {
    Program {
        name,
        place: Place::KProbe(function),
    }
}

const fn fexit(name: &'static str, parameters: usize) -> Program {
    Program {
        name,
        place: Place::FExit(name, parameters),
    }
}

const fn tracepoint(name: &'static str) -> Program {
    on(name, name)
}

const fn on(name: &'static str, tracepoint: &'static str) -> Program {
    Program {
        name,
        place: Place::TpBtf(tracepoint),
    }
}

/// Where programs on functions cannot be taken off without risk. Gone since Linux 6.9: a
/// task that exits cannot block their removal any more.
pub(super) const UNSAFE_TRAMPOLINES: &str = "tasks_rcu_exit_srcu";

/// The ways of counting payload bytes, best first.
pub(super) const RUNGS: &[Rung] = &[
    Rung {
        hook: Hook::TpBtf,
        store: Store::Sockets,
        unsafe_with: None,
        by_kprobes: false,
        programs: &[
            tracepoint("sock_send_length"),
            tracepoint("sock_recv_length"),
            tracepoint("tcp_rcv_space_adjust"),
        ],
        without_cgroup: &[],
        paths: &[SPLICE_READ],
    },
    Rung {
        hook: Hook::Fentry,
        store: Store::Sockets,
        unsafe_with: Some(UNSAFE_TRAMPOLINES),
        by_kprobes: false,
        programs: &[
            fexit("inet_sendmsg", 3),
            fexit("inet_recvmsg", 4),
            tracepoint("tcp_rcv_space_adjust"),
        ],
        without_cgroup: &[],
        paths: &[
            Path {
                name: "sockets of IPv6",
                unless: None,
                module: Some("ipv6"),
                programs: &[fexit("inet6_sendmsg", 3), fexit("inet6_recvmsg", 4)],
            },
            SPLICE_READ,
        ],
    },
    Rung {
        hook: Hook::Kprobe,
        store: Store::Table,
        unsafe_with: None,
        by_kprobes: true,
        programs: &[
            kprobe("inet_sock_destruct", "inet_sock_destruct"),
            kprobe("sock_init_data", "sock_init_data"),
            kprobe("release_sock", "release_sock"),
            kprobe("skb_consume_udp", "skb_consume_udp"),
            kprobe("udp_send_call", "udp_sendmsg"),
            kprobe("send_return", "udp_sendmsg"),
            on("tcp_rcv_space_adjust_table", "tcp_rcv_space_adjust"),
        ],
        without_cgroup: &[kprobe("inet_release", "inet_release")],
        paths: KPROBE_PATHS,
    },
];

/// The rungs of some hooks, best first.
pub(super) fn rungs(hooks: &[Hook]) -> impl Iterator<Item = &'static Rung> {
    RUNGS.iter().filter(|rung| hooks.contains(&rung.hook))
}

/// The functions that kprobes are put on, some twice.
pub(super) fn kprobe_functions() -> impl Iterator<Item = &'static str> {
    let programs = RUNGS.iter().flat_map(Rung::all_programs);
    programs.filter_map(|program| match program.place {
        Place::KProbe(function) => Some(function),
        _ => None,
    })
}

/// Beginnings and ends of TCP connections and processes; needed with every rung. Ends
/// come before beginnings: a record whose socket ends unseen stays in the table. A double
/// comes after its program, and so runs after it.
const LIFECYCLE: &[Program] = &[
    tracepoint("tcp_destroy_sock"),
    on("tcp_destroy_sock_again", "tcp_destroy_sock"),
    tracepoint("inet_sock_set_state"),
    on("inet_sock_set_state_again", "inet_sock_set_state"),
    tracepoint("task_rename"),
    tracepoint("sched_process_exit"),
];

/// Who tries ports that nobody has, for the detectors. Any rung can do without.
pub(super) const CLOSED_PORTS: &[Program] = &[tracepoint("kfree_skb")];

/// The functions that drop a packet for want of a socket.
pub(super) const RECEIVERS: [&str; netwatch_common::closed_port::RECEIVERS] = [
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "__udp4_lib_rcv",
    "__udp6_lib_rcv",
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
    on("tcp_destroy_sock_again", "tcp_destroy_sock"),
    on("inet_sock_set_state_table", "inet_sock_set_state"),
    on("inet_sock_set_state_table_again", "inet_sock_set_state"),
    tracepoint("task_rename"),
    tracepoint("sched_process_exit"),
];

/// What the cgroup v2 root adds: packets, and the ends of other sockets.
const CGROUP: &[Program] = &[SOCK_RELEASE, INGRESS, EGRESS, SOCK_CREATE];

/// And with the table: the cookies of accepted sockets.
const CGROUP_TABLE: &[Program] = &[SOCK_RELEASE, INGRESS, EGRESS, SOCK_CREATE, SOCK_ACCEPT];

/// Where kprobes see the beginning of sockets. They see the end too, but are skipped at
/// times, and what sees it later finds UDP sockets without their port.
const CGROUP_BESIDE_KPROBES: &[Program] = &[
    SOCK_RELEASE,
    INGRESS,
    EGRESS,
    Program {
        name: "sock_cookie",
        place: Place::CgroupSock,
    },
    SOCK_ACCEPT,
];

const SOCK_RELEASE: Program = Program {
    name: "sock_release",
    place: Place::CgroupSock,
};
const SOCK_CREATE: Program = Program {
    name: "sock_create",
    place: Place::CgroupSock,
};
const SOCK_ACCEPT: Program = Program {
    name: "sock_accept",
    place: Place::SockOps,
};
const INGRESS: Program = Program {
    name: "ingress",
    place: Place::CgroupSkb(CgroupSkbAttachType::Ingress),
};
const EGRESS: Program = Program {
    name: "egress",
    place: Place::CgroupSkb(CgroupSkbAttachType::Egress),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_double_is_of_a_program_of_a_rung_and_the_last_is_where_it_is() {
        for (name, doubles) in DOUBLES {
            let mut programs = RUNGS.iter().flat_map(Rung::all_programs);
            let program = programs.find(|program| program.name == *name);
            let program = program.expect(name);
            let places: Vec<String> = program.doubles().map(|one| one.place.to_string()).collect();
            assert_eq!(places.len(), doubles.len());
            assert_eq!(places.last(), Some(&program.place.to_string()));
        }
    }

    #[test]
    fn a_path_gives_way_to_an_earlier_one() {
        for rung in RUNGS {
            for (index, path) in rung.paths.iter().enumerate() {
                assert!(path.function().is_some(), "{}", path.name);
                let mut earlier = rung.paths[..index].iter().map(Path::function);
                assert!(path.unless.is_none() || earlier.any(|function| function == path.unless));
            }
        }
    }

    #[test]
    fn every_hook_is_a_rung_in_the_same_order() {
        let rungs = RUNGS.iter().map(|rung| rung.hook);
        let rungs: Vec<Hook> = rungs.chain([Hook::Cgroup]).collect();
        let hooks: Vec<Hook> = Hook::ALL.iter().map(|(_, hook)| *hook).collect();
        assert_eq!(rungs, hooks);
    }
}
