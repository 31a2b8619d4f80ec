//! The only code that touches the operating system, apart from the backends.
//!
//! Each operating system has one module with the same functions, over a
//! host that tests point at a folder and at stand-in programs.
//!
//! | function | Linux | macOS | elsewhere |
//! |---|---|---|---|
//! | `read_interfaces` | `/sys/class/net` | `netstat -ibdn` | unsupported |
//! | `read_default_routes` | `/proc/net/{route,ipv6_route}` | `netstat -rn` | unsupported |
//! | `read_name_servers` | `/etc/resolv.conf` and what stands behind a stub | `scutil --dns` | unsupported |
//! | `read_file_systems` | `/proc/self/mountinfo`, `statvfs` | `sysinfo` | `sysinfo` |
//! | `read_disk_io` | `/proc/diskstats`, `/sys/block` | `ioreg` | unsupported |
//! | `read_time_wait` | `/proc/PID/net/sockstat` | `netstat -an` | unsupported |
//! | `ping_command` | `ping` | `ping`, `ping6` | unsupported |

#[cfg_attr(windows, allow(dead_code))]
mod command;
#[cfg_attr(target_os = "linux", allow(dead_code))]
mod disks;
mod file_system;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod host;
mod interface;
mod partial;
mod ping;
mod route;
mod scoped_ip;

#[cfg(target_os = "linux")]
mod linux;
// Runs commands and parses what they print, so it builds, and is tested, on every Unix.
#[cfg(unix)]
#[cfg_attr(not(target_os = "macos"), allow(dead_code, unused_imports))]
mod macos;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod other;

#[cfg(target_os = "linux")]
use linux as os;
#[cfg(target_os = "macos")]
use macos as os;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use other as os;

use std::collections::HashMap;

#[cfg(all(target_os = "linux", feature = "ebpf"))]
pub(crate) use self::linux::clock;
#[cfg(target_os = "linux")]
pub(crate) use self::linux::owners;
pub(crate) use self::{
    command::Runner,
    host::Host,
    os::{
        ping_command, read_default_routes, read_disk_io, read_file_systems, read_interfaces,
        read_name_servers, read_time_wait,
    },
    ping::PingCommand,
};
pub use self::{
    interface::InterfaceStats, partial::Partial, route::DefaultRoute, scoped_ip::ScopedIp,
};
use crate::Result;

/// The counters of every network interface, by name.
///
/// Linux reads `/sys/class/net`, macOS runs `netstat`. An interface that
/// disappears while it is read is left out. No privilege is needed.
///
/// # Errors
///
/// When the list cannot be read; [`Unsupported`](crate::ErrorKind::Unsupported)
/// on other systems.
pub fn collect_interface_stats() -> Result<HashMap<String, InterfaceStats>> {
    let interfaces = read_interfaces(&Host::default())?;
    Ok(interfaces
        .value
        .into_iter()
        .map(|stats| (stats.name.clone(), stats))
        .collect())
}
