//! `/etc/resolv.conf`, and the servers behind a stub on this host.

use std::net::{IpAddr, Ipv4Addr};

use super::{Host, gaps};
use crate::{
    Result,
    parse::resolv_conf,
    platform::{Partial, ScopedIp},
};

const RESOLV_CONF: &str = "etc/resolv.conf";
/// `systemd-resolved` listens here: `resolved.conf(5)`, `DNSStubListener=`.
const RESOLVED_STUBS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
];
const BEHIND_RESOLVED: &str = "run/systemd/resolve/resolv.conf";
/// What `NetworkManager` writes when its own `dnsmasq` is in `resolv.conf`.
const BEHIND_NETWORK_MANAGER: &str = "run/NetworkManager/no-stub-resolv.conf";

/// The servers this host asks, in the resolver's order.
///
/// When `resolv.conf` names only a stub on this host, those the stub asks,
/// unless they cannot be read: then the stub.
pub(crate) fn read_name_servers(host: &Host) -> Result<Partial<Vec<ScopedIp>>> {
    let text = host.read(RESOLV_CONF)?;
    let servers = parse(host, RESOLV_CONF, &text);
    let Some(behind) = behind_stub(&servers.value) else {
        return Ok(servers);
    };
    match host.read(behind) {
        Ok(text) => {
            let upstream = parse(host, behind, &text);
            Ok(if upstream.value.is_empty() {
                servers
            } else {
                upstream
            })
        }
        Err(_) => Ok(servers),
    }
}

/// Where the servers behind these are written, when these are all one stub.
fn behind_stub(servers: &[ScopedIp]) -> Option<&'static str> {
    let all = |is: fn(&IpAddr) -> bool| servers.iter().all(|server| is(&server.address));
    if servers.is_empty() {
        None
    } else if all(|address| RESOLVED_STUBS.contains(address)) {
        Some(BEHIND_RESOLVED)
    } else if all(IpAddr::is_loopback) {
        Some(BEHIND_NETWORK_MANAGER)
    } else {
        None
    }
}

fn parse(host: &Host, path: &str, text: &[u8]) -> Partial<Vec<ScopedIp>> {
    let lines = resolv_conf::parse_name_servers(text);
    Partial {
        gaps: gaps(host, path, &lines),
        value: lines
            .rows
            .into_iter()
            .map(|(address, interface)| ScopedIp { address, interface })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{ErrorKind, platform::Runner};

    fn servers(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(root.path(), Runner::in_directories([]));
        let servers = read_name_servers(&host).unwrap();
        servers.value.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_servers_behind_the_resolved_stub_are_told() {
        let found = servers(&[
            (RESOLV_CONF, "nameserver 127.0.0.53\noptions edns0\n"),
            (
                BEHIND_RESOLVED,
                "nameserver 192.0.2.53\nnameserver fe80::1%eth0\n",
            ),
        ]);
        assert_eq!(found, ["192.0.2.53", "fe80::1%eth0"]);
    }

    #[test]
    fn a_stub_with_nothing_readable_behind_it_stays() {
        assert_eq!(
            servers(&[(RESOLV_CONF, "nameserver 127.0.0.53\n")]),
            ["127.0.0.53"]
        );
        let empty = [
            (RESOLV_CONF, "nameserver 127.0.0.53\n"),
            (BEHIND_RESOLVED, "# none\n"),
        ];
        assert_eq!(servers(&empty), ["127.0.0.53"]);
    }

    #[test]
    fn a_local_server_that_is_not_resolved_is_not_taken_for_it() {
        let found = servers(&[
            (RESOLV_CONF, "nameserver 127.0.0.1\n"),
            (BEHIND_RESOLVED, "nameserver 192.0.2.53\n"),
        ]);
        assert_eq!(found, ["127.0.0.1"]);
        let found = servers(&[
            (RESOLV_CONF, "nameserver 127.0.1.1\n"),
            (BEHIND_NETWORK_MANAGER, "nameserver 192.0.2.54\n"),
        ]);
        assert_eq!(found, ["192.0.2.54"]);
    }

    #[test]
    fn a_real_server_beside_a_stub_keeps_the_list_as_it_is() {
        let found = servers(&[
            (RESOLV_CONF, "nameserver 127.0.0.53\nnameserver 192.0.2.1\n"),
            (BEHIND_RESOLVED, "nameserver 192.0.2.53\n"),
        ]);
        assert_eq!(found, ["127.0.0.53", "192.0.2.1"]);
    }

    #[test]
    fn no_file_is_an_error_and_no_server_is_empty() {
        assert!(servers(&[(RESOLV_CONF, "search example.net\n")]).is_empty());
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path(), Runner::in_directories([]));
        let error = read_name_servers(&host).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
    }
}
