//! `scutil --dns`: the servers that names in general are asked from.

use super::{Host, Partial, ScopedIp, gaps};
use crate::{
    Result,
    parse::{
        address::{Address, Zone},
        scutil::parse_scutil_dns,
    },
};

/// In the order they are asked; not those for single domains, multicast, or
/// sockets bound to one interface.
pub(crate) fn read_name_servers(host: &Host) -> Result<Partial<Vec<ScopedIp>>> {
    let printed = parse_scutil_dns(&host.runner.stdout("scutil", &["--dns"])?)?;
    Ok(Partial {
        value: printed.nameservers().into_iter().map(server).collect(),
        gaps: gaps("scutil", printed.unreadable),
    })
}

fn server(address: &Address) -> ScopedIp {
    let interface = address.zone.as_ref().map(|zone| match zone {
        Zone::Index(index) => index.to_string(),
        Zone::Name(name) => name.to_string(),
    });
    ScopedIp {
        address: address.ip,
        interface,
    }
}
