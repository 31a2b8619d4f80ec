//! Systems without interface counters here: the types are there, the readings say so.

use std::collections::BTreeMap;

pub(crate) use super::disks::read_file_systems;
use super::{DefaultRoute, Host, InterfaceStats, Partial, PingCommand, ScopedIp};
use crate::{Error, ErrorKind, Result, reading::Pid, wire::DiskIo};

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{what} cannot be read on this system"),
    ))
}

pub(crate) fn read_interfaces(_: &Host) -> Result<Partial<Vec<InterfaceStats>>> {
    unsupported("interface counters")
}

pub(crate) fn read_default_routes(_: &Host) -> Result<Partial<Vec<DefaultRoute>>> {
    unsupported("default routes")
}

pub(crate) fn read_name_servers(_: &Host) -> Result<Partial<Vec<ScopedIp>>> {
    unsupported("DNS servers")
}

pub(crate) fn read_disk_io(_: &Host) -> Result<Partial<DiskIo>> {
    unsupported("disk traffic")
}

pub(crate) fn read_time_wait(_: &Host, _: &BTreeMap<u32, Vec<Pid>>) -> Result<u32> {
    unsupported("TIME-WAIT sockets")
}

pub(crate) fn ping_command(_: &ScopedIp, _: u32) -> Result<PingCommand> {
    unsupported("ping")
}
