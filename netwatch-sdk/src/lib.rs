//! Exactly which process moved how many bytes, with RTT, per socket and per
//! process, for agents that embed it.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | the JSON contract; all there is with `default-features = false` |
#![cfg_attr(
    feature = "collectors",
    doc = "| [`Collector`] | the typed API: start one, take readings, ask for its [`Status`] |
| [`event`] | what happens to connections and in DNS, as it happens |
| [`reading`] | what one reading holds: sockets, processes, gaps |
| [`collectors`] | the subjects an agent reports, one module each |
| [`detect`] | scans, beacons, tunnels and storms found in events, and DNS figures |
| [`platform`] | interface counters of this host |"
)]

pub mod types;
pub mod wire;

#[cfg(feature = "collectors")]
mod backend;
#[cfg(feature = "collectors")]
mod collector;
#[cfg(feature = "collectors")]
pub mod collectors;
#[cfg(feature = "collectors")]
pub mod detect;
#[cfg(feature = "collectors")]
mod error;
#[cfg(feature = "collectors")]
pub mod event;
#[cfg(all(fuzzing, feature = "collectors"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "collectors")]
mod parse;
#[cfg(feature = "collectors")]
pub mod platform;
#[cfg(feature = "collectors")]
pub mod reading;

#[cfg(feature = "collectors")]
pub use crate::{
    collector::{
        Backend, Builder, Check, Collector, EventStream, Events, Hook, Host, Intelligence,
        MapPressure, Pace, Packets, Reader, Refusal, Snapshots, Status,
    },
    error::{Error, ErrorKind, Result},
};
