//! Bytes or text to typed values. No files, no processes, no clock, no `cfg`.

pub(crate) mod diskstats;
pub(crate) mod ioreg;
pub(crate) mod lines;
pub(crate) mod mountinfo;
pub(crate) mod net_route;
pub(crate) mod ping;
pub(crate) mod resolv_conf;
