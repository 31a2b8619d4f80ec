//! The memory layout that netwatch's kernel programs and its SDK share.
//!
//! | module | what |
//! |---|---|
//! | [`socket`] | `SOCKETS`, `SOCKET_TABLE`: the counters of every socket; and a socket's row as it is read |
//! | [`process`] | `PROCESSES`: what a process moved beyond its open sockets |
//! | [`flow`] | `FLOWS`, `OWNERS`: sockets where only programs of a cgroup run |
//! | [`dns`] | `DNS`: messages of DNS clients |
//! | [`closed_port`] | `CLOSED_PORTS`: who tried ports that nobody has |
//! | [`event`] | `EVENTS`: what happened to connections; `LISTENERS`: who listens |
//! | [`counters`] | `COUNTERS`: what was lost, and what is asked for |
//! | [`offsets`] | `OFFSETS`: where this kernel keeps the fields that the programs read |
//!
//! Integers and byte arrays only, no padding: `zerocopy` refuses anything else.
#![no_std]

pub mod closed_port;
pub mod counters;
pub mod dns;
pub mod event;
pub mod flow;
pub mod offsets;
pub mod process;
pub mod socket;
