//! `/sys/class/net`: counters and state of each interface.
//!
//! It shows the network namespace that `/sys` was mounted in.

use std::io;

use super::Host;
use crate::{
    Error, ErrorKind, Result,
    platform::{InterfaceStats, Partial},
};

const FOLDER: &str = "sys/class/net";
/// `IFF_UP` of `linux/if.h`.
const UP: u32 = 0x1;

/// Every interface. One that disappears while it is read is left out.
pub(crate) fn read_interfaces(host: &Host) -> Result<Partial<Vec<InterfaceStats>>> {
    let names = host.list(FOLDER)?;
    Ok(names
        .into_iter()
        // `bonding_masters` and the like are files, not interfaces.
        .filter(|name| host.path(format!("{FOLDER}/{name}")).is_dir())
        .map(|name| read_interface(host, name))
        .filter(|reading| !reading.as_ref().is_err_and(vanished))
        .collect())
}

/// A file that is gone, or an open one whose device is.
fn vanished(error: &Error) -> bool {
    let code = std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    error.kind() == ErrorKind::Missing || code == Some(libc::ENODEV)
}

fn read_interface(host: &Host, name: String) -> Result<InterfaceStats> {
    let counter =
        |counter: &str| read_counter(host, &format!("{FOLDER}/{name}/statistics/{counter}"));
    Ok(InterfaceStats {
        rx_bytes: counter("rx_bytes")?,
        tx_bytes: counter("tx_bytes")?,
        rx_packets: counter("rx_packets")?,
        tx_packets: counter("tx_packets")?,
        rx_errors: counter("rx_errors")?,
        tx_errors: counter("tx_errors")?,
        rx_drops: counter("rx_dropped")?,
        tx_drops: counter("tx_dropped")?,
        is_up: read_is_up(host, &name)?,
        name,
    })
}

fn read_is_up(host: &Host, name: &str) -> Result<bool> {
    let flags = read_word(host, &format!("{FOLDER}/{name}/flags"))?;
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16)
        .map_err(|cause| malformed(&format!("{name}/flags"), cause))?;
    let state = read_word(host, &format!("{FOLDER}/{name}/operstate"))?;
    // Drivers that cannot tell, loopback and tunnels among them, say "unknown".
    Ok(flags & UP != 0 && matches!(state.as_str(), "up" | "unknown"))
}

fn read_counter(host: &Host, path: &str) -> Result<u64> {
    read_word(host, path)?
        .parse()
        .map_err(|cause| malformed(path, cause))
}

fn read_word(host: &Host, path: &str) -> Result<String> {
    let text = host.read(path)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn malformed(path: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Malformed, format!("read {path}")).because(cause)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::platform::Runner;

    const COUNTERS: [&str; 8] = [
        "rx_bytes",
        "tx_bytes",
        "rx_packets",
        "tx_packets",
        "rx_errors",
        "tx_errors",
        "rx_dropped",
        "tx_dropped",
    ];

    fn add_interface(root: &Path, name: &str, flags: &str, operstate: &str) {
        let folder = root.join(FOLDER).join(name);
        fs::create_dir_all(folder.join("statistics")).unwrap();
        for (value, counter) in COUNTERS.iter().enumerate() {
            let value = u64::MAX - value as u64;
            fs::write(
                folder.join("statistics").join(counter),
                format!("{value}\n"),
            )
            .unwrap();
        }
        fs::write(folder.join("flags"), format!("{flags}\n")).unwrap();
        fs::write(folder.join("operstate"), format!("{operstate}\n")).unwrap();
    }

    fn read(root: &Path) -> Result<Partial<Vec<InterfaceStats>>> {
        read_interfaces(&Host::at(root, Runner::in_directories([])))
    }

    #[test]
    fn every_counter_lands_in_its_own_field() {
        let root = tempfile::tempdir().unwrap();
        add_interface(root.path(), "eth0", "0x1003", "up");
        let read = read(root.path()).unwrap();
        let expected = InterfaceStats {
            name: "eth0".into(),
            rx_bytes: u64::MAX,
            tx_bytes: u64::MAX - 1,
            rx_packets: u64::MAX - 2,
            tx_packets: u64::MAX - 3,
            rx_errors: u64::MAX - 4,
            tx_errors: u64::MAX - 5,
            rx_drops: u64::MAX - 6,
            tx_drops: u64::MAX - 7,
            is_up: true,
        };
        assert_eq!(read.value, [expected]);
        assert!(read.gaps.is_empty());
    }

    #[test]
    fn up_needs_the_flag_and_a_state_that_does_not_deny_it() {
        let root = tempfile::tempdir().unwrap();
        add_interface(root.path(), "a_up", "0x1003", "up");
        add_interface(root.path(), "b_no_cable", "0x1003", "down");
        add_interface(root.path(), "c_disabled", "0x1002", "unknown");
        add_interface(root.path(), "d_tunnel", "0x9", "unknown");
        add_interface(root.path(), "e_dormant", "0x1003", "dormant");
        let up: Vec<_> = read(root.path())
            .unwrap()
            .value
            .iter()
            .map(|stats| stats.is_up)
            .collect();
        assert_eq!(up, [true, false, false, true, false]);
    }

    #[test]
    fn an_interface_that_vanishes_while_read_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        add_interface(root.path(), "eth0", "0x1003", "up");
        fs::create_dir_all(root.path().join(FOLDER).join("veth1/statistics")).unwrap();
        fs::write(root.path().join(FOLDER).join("bonding_masters"), "").unwrap();
        let read = read(root.path()).unwrap();
        assert_eq!(read.value.len(), 1);
        assert!(read.gaps.is_empty());
    }

    #[test]
    fn a_counter_that_is_no_number_is_a_gap_not_zero() {
        let root = tempfile::tempdir().unwrap();
        add_interface(root.path(), "eth0", "0x1003", "up");
        add_interface(root.path(), "eth1", "0x1003", "up");
        let bad = root.path().join(FOLDER).join("eth1/statistics/rx_bytes");
        fs::write(bad, "many\n").unwrap();
        let read = read(root.path()).unwrap();
        assert_eq!(read.value.len(), 1);
        assert_eq!(read.gaps.len(), 1);
        assert_eq!(read.gaps[0].kind(), ErrorKind::Malformed);
    }

    #[test]
    fn no_list_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()).unwrap_err().kind(), ErrorKind::Missing);
    }
}
