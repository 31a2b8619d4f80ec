//! `netstat -ibdn`: counters of each interface.

use std::collections::HashMap;

use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_indextoname},
};

use super::{Host, InterfaceStats, Partial, gaps};
use crate::{
    Error, ErrorKind, Result,
    parse::netstat::interfaces::{Link, parse_netstat_interfaces},
};

/// Every interface. Older releases cut long names; those are completed by the
/// interface's number, and one whose name stays ambiguous is a gap.
pub(crate) fn read_interfaces(host: &Host) -> Result<Partial<Vec<InterfaceStats>>> {
    let printed = parse_netstat_interfaces(&host.runner.stdout("netstat", &["-ibdn"])?)?;
    let mut times_printed = HashMap::new();
    for link in &printed.links {
        *times_printed.entry(link.name.clone()).or_insert(0) += 1;
    }
    let mut interfaces: Partial<Vec<_>> = printed
        .links
        .into_iter()
        .map(|link| {
            let unique = times_printed.get(&link.name) == Some(&1);
            interface(link, unique)
        })
        .collect();
    interfaces.gaps.extend(gaps("netstat", printed.unreadable));
    Ok(interfaces)
}

fn interface(link: Link, unique: bool) -> Result<InterfaceStats> {
    let name = if link.cut {
        match full_name(&link) {
            Some(name) => name,
            None if unique => link.name,
            None => {
                let what = format!("netstat printed {} for several interfaces", link.name);
                return Err(Error::new(ErrorKind::Malformed, what));
            }
        }
    } else {
        link.name
    };
    Ok(InterfaceStats {
        is_up: link.is_up.unwrap_or_else(|| is_up(&name)),
        rx_bytes: link.rx_bytes,
        tx_bytes: link.tx_bytes,
        rx_packets: link.rx_packets,
        tx_packets: link.tx_packets,
        rx_errors: link.rx_errors,
        tx_errors: link.tx_errors,
        rx_drops: link.rx_drops.unwrap_or(0),
        tx_drops: link.tx_drops.unwrap_or(0),
        name,
    })
}

fn full_name(link: &Link) -> Option<String> {
    let name = if_indextoname(link.index).ok()?.into_string().ok()?;
    name.starts_with(&link.name).then_some(name)
}

/// For an interface whose mark for "down" may be cut off. One that has gone is not up.
fn is_up(name: &str) -> bool {
    let Ok(mut addresses) = getifaddrs() else {
        return false;
    };
    addresses.any(|address| {
        address.interface_name == name && address.flags.contains(InterfaceFlags::IFF_UP)
    })
}
