//! `/proc/net/route` and `/proc/net/ipv6_route`: the default routes.

use super::{Host, gaps};
use crate::{
    Result,
    parse::net_route::{self, Route},
    platform::{DefaultRoute, Partial},
};

const IPV4: &str = "proc/net/route";
const IPV6: &str = "proc/net/ipv6_route";

/// The default routes of the main table, IPv4 first, best metric first.
///
/// A kernel without IPv6 has no file for it, which is not an error.
pub(crate) fn read_default_routes(host: &Host) -> Result<Partial<Vec<DefaultRoute>>> {
    let ipv4 = net_route::parse_ipv4(&host.read(IPV4)?);
    let mut routes = Partial {
        gaps: gaps(host, IPV4, &ipv4),
        value: by_metric(ipv4.rows, false),
    };
    if let Some(text) = host.read_if_present(IPV6)? {
        let ipv6 = net_route::parse_ipv6(&text);
        routes.gaps.extend(gaps(host, IPV6, &ipv6));
        routes.value.extend(by_metric(ipv6.rows, true));
    }
    Ok(routes)
}

fn by_metric(mut routes: Vec<Route>, ipv6: bool) -> Vec<DefaultRoute> {
    routes.sort_by_key(|route| route.metric);
    let typed = |route: Route| DefaultRoute {
        gateway: route.gateway,
        interface: route.interface,
        metric: Some(route.metric),
        ipv6,
    };
    routes.into_iter().map(typed).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{ErrorKind, platform::Runner};

    fn host(ipv4: &str, ipv6: Option<&str>) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/net")).unwrap();
        fs::write(root.path().join(IPV4), ipv4).unwrap();
        if let Some(ipv6) = ipv6 {
            fs::write(root.path().join(IPV6), ipv6).unwrap();
        }
        let host = Host::at(root.path(), Runner::in_directories([]));
        (root, host)
    }

    fn ipv4_route(interface: &str, last_byte: u8, metric: u32) -> String {
        let gateway = u32::from_ne_bytes([192, 0, 2, last_byte]);
        format!("{interface}\t00000000\t{gateway:08X}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n")
    }

    #[test]
    fn the_lowest_metric_comes_first_and_ipv6_after_ipv4() {
        let zeros = "0".repeat(32);
        let ipv6 = format!(
            "{zeros} 00 {zeros} 00 20010db8000000000000000000000001 00000001 0 0 00000003 eth0\n"
        );
        let ipv4 = ipv4_route("wlan0", 1, 600) + &ipv4_route("eth0", 2, 100);
        let (_root, host) = host(&ipv4, Some(&ipv6));
        let gateways: Vec<_> = read_default_routes(&host)
            .unwrap()
            .value
            .iter()
            .map(|route| route.gateway_text().unwrap())
            .collect();
        assert_eq!(gateways, ["192.0.2.2", "192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn no_default_route_is_empty_and_no_file_is_an_error() {
        let (root, host) = host("Iface\tDestination\n", None);
        assert_eq!(read_default_routes(&host).unwrap().value, []);
        fs::remove_file(root.path().join(IPV4)).unwrap();
        let error = read_default_routes(&host).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
    }

    #[test]
    fn a_bad_line_is_a_gap_with_its_path_and_number() {
        let (_root, host) = host(&format!("eth1\tx\n{}", ipv4_route("eth0", 1, 0)), None);
        let routes = read_default_routes(&host).unwrap();
        assert_eq!(routes.value.len(), 1);
        let gap = format!("{:?}", routes.gaps[0]);
        assert!(
            gap.contains("proc/net/route") && gap.contains("line 1"),
            "{gap}"
        );
    }
}
