//! `/proc/net/route` and `/proc/net/ipv6_route`: default routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lines::{Lines, parse_text_lines};

/// `RTF_UP`, `RTF_GATEWAY` and `RTF_REJECT` of `linux/route.h`.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x200;

/// A route to everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) interface: String,
    pub(crate) metric: u32,
}

/// The usable default routes of `/proc/net/route`, in the file's order.
pub(crate) fn parse_ipv4(text: &[u8]) -> Lines<Route> {
    parse_text_lines(text, |line| {
        let mut columns = line.split_ascii_whitespace();
        let mut next = || columns.next().ok_or("too few columns");
        let interface = next()?;
        if interface == "Iface" {
            return Ok(None);
        }
        let destination = hex(next()?)?;
        let gateway = hex(next()?)?;
        let flags = hex(next()?)?;
        let (_references, _use) = (next()?, next()?);
        let metric = next()?.parse().map_err(|_| "metric is not a number")?;
        let mask = hex(next()?)?;
        if destination != 0 || mask != 0 || !usable(flags) {
            return Ok(None);
        }
        // Printed as the number that the network-order bytes are in memory.
        let gateway = Ipv4Addr::from(gateway.to_ne_bytes());
        Ok(Some(Route {
            gateway: (flags & GATEWAY != 0).then_some(IpAddr::V4(gateway)),
            interface: interface.to_owned(),
            metric,
        }))
    })
}

/// The usable default routes of `/proc/net/ipv6_route`, in the file's order.
pub(crate) fn parse_ipv6(text: &[u8]) -> Lines<Route> {
    parse_text_lines(text, |line| {
        let mut columns = line.split_ascii_whitespace();
        let mut next = || columns.next().ok_or("too few columns");
        let destination = address(next()?)?;
        let prefix = hex(next()?)?;
        let (_source, _source_prefix) = (next()?, next()?);
        let gateway = address(next()?)?;
        let metric = hex(next()?)?;
        let (_references, _use) = (next()?, next()?);
        let flags = hex(next()?)?;
        let interface = next()?;
        if !destination.is_unspecified() || prefix != 0 || !usable(flags) {
            return Ok(None);
        }
        Ok(Some(Route {
            gateway: (flags & GATEWAY != 0).then_some(IpAddr::V6(gateway)),
            interface: interface.to_owned(),
            metric,
        }))
    })
}

const fn usable(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

fn hex(digits: &str) -> Result<u32, &'static str> {
    u32::from_str_radix(digits, 16).map_err(|_| "not a hexadecimal number")
}

fn address(digits: &str) -> Result<Ipv6Addr, &'static str> {
    if digits.len() != 32 {
        return Err("not an IPv6 address");
    }
    u128::from_str_radix(digits, 16)
        .map(Ipv6Addr::from)
        .map_err(|_| "not an IPv6 address")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IPV4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth9\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv4_default_routes_keep_gateway_interface_and_metric() {
        let lines = parse_ipv4(IPV4.as_bytes());
        let wlan0 = Route {
            gateway: Some("192.168.1.1".parse().unwrap()),
            interface: "wlan0".into(),
            metric: 600,
        };
        let tun0 = Route {
            gateway: None,
            interface: "tun0".into(),
            metric: 50,
        };
        assert_eq!(lines.rows, [wlan0, tun0]);
        assert_eq!(lines.bad, []);
    }

    #[test]
    fn the_ipv6_reject_route_on_lo_is_no_default_route() {
        let zeros = "0".repeat(32);
        let router = "fe800000000000000000000000000001";
        let text = format!(
            "{zeros} 00 {zeros} 00 {router} 00000400 00000002 00000000 00000003     eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let lines = parse_ipv6(text.as_bytes());
        let eth0 = Route {
            gateway: Some("fe80::1".parse().unwrap()),
            interface: "eth0".into(),
            metric: 1024,
        };
        assert_eq!(lines.rows, [eth0]);
        assert_eq!(lines.bad, []);
    }

    #[test]
    fn one_bad_line_costs_that_line_and_is_told() {
        let text = format!("{IPV4}eth1\t0000\neth2\tzz\t0\t0\t0\t0\t0\t0\n");
        let lines = parse_ipv4(text.as_bytes());
        assert_eq!(lines.rows.len(), 2);
        let numbers: Vec<_> = lines.bad.iter().map(|bad| bad.number).collect();
        assert_eq!(numbers, [6, 7]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_and_bad_lines_never_a_panic(bytes: Vec<u8>) {
            parse_ipv4(&bytes);
            parse_ipv6(&bytes);
        }

        #[test]
        fn every_gateway_and_metric_survives(gateway: [u8; 4], metric: u32, v6: [u8; 16]) {
            let number = u32::from_ne_bytes(gateway);
            let text = format!("eth0\t00000000\t{number:08X}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n");
            let row = parse_ipv4(text.as_bytes()).rows.remove(0);
            prop_assert_eq!((row.gateway, row.metric), (Some(IpAddr::from(gateway)), metric));

            let zeros = "0".repeat(32);
            let number = u128::from_be_bytes(v6);
            let text = format!("{zeros} 00 {zeros} 00 {number:032x} {metric:08x} 0 0 00000003 eth0\n");
            let row = parse_ipv6(text.as_bytes()).rows.remove(0);
            prop_assert_eq!((row.gateway, row.metric), (Some(IpAddr::from(v6)), metric));
        }
    }
}
