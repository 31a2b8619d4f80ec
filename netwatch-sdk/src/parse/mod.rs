//! Bytes or text to typed values. No files, no processes, no clock, no `cfg`.
//!
//! Every parser takes bytes, because a tool's output is not always UTF-8, and
//! returns what it read together with the lines it could not read, or their
//! number. It returns an error only when the whole output is not in the tool's
//! format.

// Built on every system, so that the tests run there; each system uses its own.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

pub(crate) mod address;
#[cfg_attr(not(feature = "ebpf"), allow(dead_code))]
pub(crate) mod btf;
pub(crate) mod diskstats;
pub(crate) mod dns;
pub(crate) mod endpoint;
pub(crate) mod ioreg;
pub(crate) mod lines;
pub(crate) mod lsof;
pub(crate) mod mountinfo;
pub(crate) mod net_route;
pub(crate) mod netstat;
pub(crate) mod nettop;
pub(crate) mod next_hop;
pub(crate) mod ping;
pub(crate) mod ps;
pub(crate) mod resolv_conf;
pub(crate) mod scutil;
pub(crate) mod sockstat;
pub(crate) mod ss;
mod text;

#[cfg(test)]
mod shared_fixtures;
