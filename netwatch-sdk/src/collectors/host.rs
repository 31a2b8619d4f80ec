//! What this host is: name, system, kernel, hardware.

use sysinfo::System;
use uuid::Uuid;

use super::system::{detect_cpu_info, detect_memory_total};
use crate::{Error, ErrorKind, Result, wire::HostInfo};

/// What this host is. `host_id` is the agent's to choose and to keep.
///
/// What the host does not tell is `None`. No privilege is needed.
///
/// # Errors
///
/// When the host has no name.
pub fn read_host_info(host_id: Uuid) -> Result<HostInfo> {
    let hostname = System::host_name()
        .map_err(|cause| Error::new(ErrorKind::Io, "read the host's name").because(cause))?;
    let cpu = detect_cpu_info();
    Ok(HostInfo {
        host_id,
        hostname,
        os: read_os(),
        kernel: System::kernel_version().ok(),
        uptime_secs: System::uptime().ok(),
        cpu_model: cpu.model,
        cpu_cores: cpu.cores,
        memory_total_bytes: detect_memory_total(),
    })
}

/// `Debian GNU/Linux 12`
fn read_os() -> Option<String> {
    let name = System::name().ok()?;
    Some(match System::os_version() {
        Ok(version) => format!("{name} {version}"),
        Err(_) => name,
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_its_own_files_say() {
        let proc = |file: &str| std::fs::read_to_string(format!("/proc/{file}")).unwrap();
        let host = read_host_info(Uuid::nil()).unwrap();
        assert_eq!(host.hostname, proc("sys/kernel/hostname").trim());
        assert_eq!(host.kernel.unwrap(), proc("sys/kernel/osrelease").trim());
        let uptime: f64 = proc("uptime").split(' ').next().unwrap().parse().unwrap();
        assert!(host.uptime_secs.unwrap().abs_diff(uptime as u64) <= 2);
        let cores = proc("cpuinfo").matches("processor\t:").count() as u32;
        assert_eq!(host.cpu_cores, Some(cores));
    }
}
