//! macOS: what its own commands print.
//!
//! Nothing here needs macOS to build: on any Unix, tests run it with stand-in
//! programs that print what the real ones do.

mod disk_io;
mod interfaces;
mod name_servers;
mod ping;
mod routes;
mod time_wait;

pub(crate) use self::{
    disk_io::read_disk_io, interfaces::read_interfaces, name_servers::read_name_servers,
    ping::ping_command, routes::read_default_routes, time_wait::read_time_wait,
};
pub(crate) use super::disks::read_file_systems;
use super::{DefaultRoute, Host, InterfaceStats, Partial, PingCommand, ScopedIp};
use crate::{Error, ErrorKind};

/// One gap for the lines of a program's output that could not be read.
fn gaps(program: &str, unreadable: u64) -> Vec<Error> {
    let gap = || {
        let what = format!("{program} printed {unreadable} lines that cannot be read");
        Error::new(ErrorKind::Malformed, what)
    };
    (unreadable > 0).then(gap).into_iter().collect()
}

#[cfg(test)]
mod tests;
