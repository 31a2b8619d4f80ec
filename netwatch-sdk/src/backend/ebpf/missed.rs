//! Runs of the kernel programs that the kernel skipped.
//!
//! A program does not run while it runs already on the same processor, below: in a task
//! that was preempted inside it (preemptible kernels), or under a softirq. With kprobes,
//! any of them and any `bpf(2)` call on a map is enough. The kernel counts what it skipped.
//! Some programs have a double, which does and counts what they were skipped for.

use std::os::fd::AsFd as _;

use aya::{Ebpf, programs::Program};
use netwatch_common::counters;

use super::{
    maps,
    programs::{Rung, Store},
    syscall,
};
use crate::{Error, Result, collector::Hook, reading::Accuracy};

/// Programs with a double, and the counter of what it did in their place.
const DOUBLED: &[(&str, u32)] = &[
    ("sock_send_length", counters::RECOVERED_SENDS),
    ("sock_recv_length", counters::RECOVERED_RECEIVES),
    ("tcp_rcv_space_adjust", counters::RECOVERED_READS),
    ("tcp_rcv_space_adjust_table", counters::RECOVERED_READS),
    ("inet_sendmsg", counters::RECOVERED_SENDS),
    ("inet_recvmsg", counters::RECOVERED_RECEIVES),
    ("inet6_sendmsg", counters::RECOVERED_SENDS_V6),
    ("inet6_recvmsg", counters::RECOVERED_RECEIVES_V6),
    ("inet_sock_set_state", counters::RECOVERED_STATES),
    ("inet_sock_set_state_table", counters::RECOVERED_STATES),
    ("tcp_destroy_sock", counters::RECOVERED_ENDS),
];

/// Programs on returns, and the double of each on a tracepoint. It also counts calls that the
/// program was left out of and not skipped for, and so can hide as many that both missed.
const ON_RETURNS: &[(&str, &str)] = &[
    ("inet_sendmsg", "sock_send_length_again"),
    ("inet_recvmsg", "sock_recv_length_again"),
    ("inet6_sendmsg", "sock_send_length_again"),
    ("inet6_recvmsg", "sock_recv_length_again"),
];

/// How often the kernel is asked again, when a call may be between a program and its double.
const TRIES: u8 = 3;

/// How the name of a double ends.
const AGAIN: &str = "_again";

/// Programs that count no bytes: without a run of theirs none is missing. With the table
/// there is another program for states, which counts.
const COUNTING_NOTHING: &[&str] = &[
    "inet_sock_set_state",
    "kfree_skb",
    "sched_process_exit",
    "task_rename",
];

/// Programs without which a record in the table can outlive its socket, and get the bytes of
/// the next one at its address.
const RENEWING: &[&str] = &[
    "inet_release",
    "inet_sock_destruct",
    "sock_init_data",
    "tcp_destroy_sock",
];

/// By program, how often it did not run since it was loaded; without those that always did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Missed {
    programs: Vec<(String, u64)>,
}

/// From now on, doubles recover what is skipped. While they were being attached, calls had
/// the one without the other.
pub(super) fn begin(ebpf: &mut Ebpf) -> Result<()> {
    for (name, counter) in DOUBLED {
        if let Some(runs) = skipped(ebpf, name)? {
            maps::set_counter(ebpf, *counter, runs)?;
        }
    }
    Ok(())
}

/// How often the kernel has skipped a program. `None` for one that is not loaded, or that
/// is never skipped: those of a cgroup and iterators.
fn skipped(ebpf: &Ebpf, name: &str) -> Result<Option<u64>> {
    let program = match ebpf.program(name) {
        Some(Program::BtfTracePoint(program)) => program.fd(),
        Some(Program::FExit(program)) => program.fd(),
        Some(Program::KProbe(program)) => program.fd(),
        _ => return Ok(None),
    };
    let Ok(program) = program else {
        return Ok(None);
    };
    let runs = syscall::recursion_misses(program.as_fd())
        .map_err(|error| Error::io("the programs' missed runs cannot be read", error))?;
    Ok(Some(runs))
}

impl Missed {
    /// Asks the kernel about every loaded program that it can skip. 15 to 40 µs.
    pub(super) fn read(ebpf: &Ebpf, before: &Self) -> Result<Self> {
        let mut missed = Self::read_once(ebpf)?;
        // A run that was skipped meanwhile is missed until its double has run.
        for _ in 1..TRIES {
            if missed.runs() <= before.runs() {
                break;
            }
            missed = Self::read_once(ebpf)?;
        }
        Ok(missed)
    }

    fn read_once(ebpf: &Ebpf) -> Result<Self> {
        let mut programs = Vec::new();
        for (name, _) in ebpf.programs().filter(|(name, _)| !name.ends_with(AGAIN)) {
            let doubled = DOUBLED.iter().find(|(doubled, _)| *doubled == name);
            // In this order: what is recovered was skipped before, so this is not too little.
            let recovered = doubled.map(|(_, counter)| maps::counter(ebpf, *counter));
            let recovered = recovered.transpose()?.unwrap_or_default();
            let Some(runs) = skipped(ebpf, name)? else {
                continue;
            };
            let missed = runs.wrapping_sub(recovered).cast_signed();
            let double = ON_RETURNS.iter().find(|(program, _)| *program == name);
            let double = double
                .map(|(_, double)| skipped(ebpf, double))
                .transpose()?;
            let at_least = i64::from(double.flatten().is_some_and(|runs| runs > 0));
            if let Ok(missed @ 1..) = u64::try_from(missed.max(at_least)) {
                programs.push((name.to_owned(), missed));
            }
        }
        programs.sort_unstable();
        Ok(Self { programs })
    }

    /// Of all programs.
    pub(super) fn runs(&self) -> u64 {
        self.programs.iter().map(|(_, runs)| runs).sum()
    }

    /// What figures of payload are worth.
    pub(super) fn accuracy(&self, store: Store) -> Accuracy {
        let any = |which: &dyn Fn(&str) -> bool| self.programs.iter().any(|(name, _)| which(name));
        if store == Store::Table && any(&|name| RENEWING.contains(&name)) {
            Accuracy::Estimate
        } else if any(&|name| !COUNTING_NOTHING.contains(&name)) {
            Accuracy::LowerBound
        } else {
            Accuracy::Exact
        }
    }

    /// A line for the status: what was skipped, what it means, and the way out.
    pub(super) fn limit(&self, rung: &Rung, store: Store) -> Option<String> {
        if self.programs.is_empty() {
            return None;
        }
        let programs: Vec<String> = self
            .programs
            .iter()
            .map(|(name, runs)| format!("{name} {runs}"))
            .collect();
        let what = match self.accuracy(store) {
            Accuracy::Exact => {
                "names, directions, events, ends of processes or attempts at closed ports may be \
                 missing; payload stays exact"
            }
            Accuracy::LowerBound => "payload may be missing, owners, rows and events too",
            Accuracy::Estimate => {
                "payload may be missing, or in another socket's row; owners, rows and events too"
            }
        };
        let way_out = match (self.accuracy(store), rung.hook) {
            (Accuracy::Exact, _) => "",
            (_, Hook::Kprobe) => "; restart to count anew",
            _ => "; restart to count anew, with --hook kprobe, whose programs are not preempted",
        };
        Some(format!(
            "the kernel skipped {} runs of programs that were running already on the same \
             processor ({}), so {what}{way_out}",
            self.runs(),
            programs.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ebpf::programs::{CLOSED_PORTS, RUNGS, rungs};

    fn missed(programs: &[(&str, u64)]) -> Missed {
        let programs = programs
            .iter()
            .map(|(name, runs)| (name.to_string(), *runs));
        Missed {
            programs: programs.collect(),
        }
    }

    #[test]
    fn nothing_missed_is_exact_and_says_nothing() {
        let none = Missed::default();
        assert_eq!(none.runs(), 0);
        for rung in RUNGS {
            assert_eq!(none.accuracy(rung.store), Accuracy::Exact);
            assert_eq!(none.limit(rung, rung.store), None);
        }
    }

    #[test]
    fn a_missed_run_of_any_counting_program_is_never_exact() {
        for rung in RUNGS {
            for program in rung.all_programs() {
                let one = missed(&[(program.name, 1)]);
                assert_ne!(
                    one.accuracy(rung.store),
                    Accuracy::Exact,
                    "{}",
                    program.name
                );
                assert!(one.limit(rung, rung.store).unwrap().contains(program.name));
            }
        }
    }

    #[test]
    fn runs_add_up_and_names_alone_cost_no_bytes() {
        let rung = rungs(&[Hook::TpBtf]).next().unwrap();
        let names = missed(&[("inet_sock_set_state", 2), ("task_rename", 3)]);
        assert_eq!(names.runs(), 5);
        assert_eq!(names.accuracy(Store::Sockets), Accuracy::Exact);
        let limit = names.limit(rung, Store::Sockets).unwrap();
        assert!(limit.contains("skipped 5 runs") && limit.contains("task_rename 3"));
        assert!(!limit.contains("--hook"), "{limit}");
        let bytes = missed(&[("sock_send_length", 1)]);
        let limit = bytes.limit(rung, Store::Sockets).unwrap();
        assert!(limit.contains("--hook kprobe"), "{limit}");
    }

    #[test]
    fn every_double_is_of_a_program_before_it() {
        for store in [Store::Sockets, Store::Table] {
            let names: Vec<&str> = store.lifecycle().iter().map(|one| one.name).collect();
            let doubles = names.iter().enumerate();
            let doubles = doubles.filter_map(|(at, name)| Some((at, name.strip_suffix(AGAIN)?)));
            let doubles: Vec<(usize, &str)> = doubles.collect();
            assert_eq!(doubles.len(), 2);
            for (at, name) in doubles {
                assert!(
                    DOUBLED.iter().any(|(doubled, _)| *doubled == name),
                    "{name}"
                );
                assert!(names[..at].contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn an_unseen_end_is_worse_in_the_table() {
        let end = missed(&[("tcp_destroy_sock", 1)]);
        assert_eq!(end.accuracy(Store::Sockets), Accuracy::LowerBound);
        assert_eq!(end.accuracy(Store::Table), Accuracy::Estimate);
    }

    #[test]
    fn what_names_or_renews_or_has_a_double_is_a_program() {
        let stores = [Store::Sockets, Store::Table];
        let lifecycle = stores.iter().flat_map(|store| store.lifecycle());
        let counting = RUNGS.iter().flat_map(Rung::all_programs);
        let known: Vec<&str> = lifecycle
            .chain(counting)
            .chain(CLOSED_PORTS)
            .map(|one| one.name)
            .collect();
        let doubled = DOUBLED.iter().map(|(name, _)| name);
        let on_returns = ON_RETURNS.iter().map(|(name, _)| name);
        let named = COUNTING_NOTHING.iter().chain(RENEWING).chain(doubled);
        for name in named.chain(on_returns) {
            assert!(known.contains(name), "{name}");
        }
    }
}
