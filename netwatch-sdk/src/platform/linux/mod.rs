//! Linux: files of `/proc`, `/sys` and `/etc`.

pub(crate) mod clock;
mod disk_io;
mod file_systems;
mod interfaces;
mod name_servers;
pub(crate) mod owners;
mod ping;
mod routes;
mod time_wait;

use std::path::Path;

pub(crate) use self::{
    disk_io::read_disk_io, file_systems::read_file_systems, interfaces::read_interfaces,
    name_servers::read_name_servers, ping::ping_command, routes::read_default_routes,
    time_wait::read_time_wait,
};
use super::Host;
use crate::{
    Error, ErrorKind,
    parse::lines::{BadLine, Lines},
};

/// The bad lines of the file at `path`, as errors.
fn gaps<T>(host: &Host, path: impl AsRef<Path>, lines: &Lines<T>) -> Vec<Error> {
    let path = host.path(path);
    let gap = |bad: &BadLine| {
        Error::new(ErrorKind::Malformed, format!("read {}", path.display())).because(*bad)
    };
    lines.bad.iter().map(gap).collect()
}
