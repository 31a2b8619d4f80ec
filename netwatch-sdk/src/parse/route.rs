//! `route -n get default` of macOS, and how it and `netstat -rn` print a next hop.

use super::{
    address::{Address, parse_address},
    text,
};
use crate::Result;

/// Where packets of a route go next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// To a router.
    Router(Address),
    /// Straight out of the interface with this number, as with a tunnel.
    Link(u32),
}

/// The default route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// `None` where not printed, as with some tunnels.
    pub(crate) next_hop: Option<NextHop>,
    /// `None` where not printed.
    pub(crate) interface: Option<String>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// Reads the output of `route -n get default`, for IPv4 or, with `-inet6`, IPv6.
///
/// # Errors
///
/// When there is no `destination:` line: without a default route, `route`
/// prints an error and no route.
pub(crate) fn parse_route_get(output: &[u8]) -> Result<DefaultRoute> {
    let mut read = DefaultRoute::default();
    let mut destination = false;
    for line in text::lines(output) {
        // The numbers after the flags have no colon and are not read.
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "destination" => destination = true,
            "gateway" => match parse_next_hop(value) {
                Some(next_hop) => read.next_hop = Some(next_hop),
                None => read.unreadable += 1,
            },
            "interface" if !value.is_empty() => read.interface = Some(value.to_owned()),
            _ => {}
        }
    }
    if !destination {
        return Err(text::not_in_format("route", "destination", output));
    }
    Ok(read)
}

/// `192.0.2.1`, `fe80::1%en0`, `link#17`, `index: 28`, `index: 25 utun4`
pub(super) fn parse_next_hop(text: &str) -> Option<NextHop> {
    let index = text
        .strip_prefix("link#")
        .or_else(|| text.strip_prefix("index:"));
    match index {
        Some(index) => {
            let index = index.split_ascii_whitespace().next()?;
            Some(NextHop::Link(index.parse().ok()?))
        }
        None => parse_address(text).map(NextHop::Router),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTER: &[u8] = include_bytes!("../../tests/fixtures/route/macos_get_default_router.txt");
    const TUNNEL: &[u8] =
        include_bytes!("../../tests/fixtures/route/macos_get_default_tunnel_index.txt");
    const NO_GATEWAY: &[u8] =
        include_bytes!("../../tests/fixtures/route/macos_get_default_no_gateway.txt");
    const IPV6: &[u8] = include_bytes!("../../tests/fixtures/route/macos_get_default_inet6.txt");

    fn router(address: &str) -> Option<NextHop> {
        Some(NextHop::Router(parse_address(address).unwrap()))
    }

    #[test]
    fn the_router_is_read_for_both_families() {
        let read = parse_route_get(ROUTER).unwrap();
        assert_eq!(read.next_hop, router("192.0.2.1"));
        assert_eq!(read.interface.as_deref(), Some("en0"));
        let read = parse_route_get(IPV6).unwrap();
        assert_eq!(read.next_hop, router("fe80::1%en0"));
    }

    #[test]
    fn a_tunnel_has_a_link_or_nothing_in_place_of_a_router() {
        let read = parse_route_get(TUNNEL).unwrap();
        assert_eq!(read.next_hop, Some(NextHop::Link(28)));
        assert_eq!(read.interface.as_deref(), Some("utun8"));
        let read = parse_route_get(NO_GATEWAY).unwrap();
        assert_eq!((read.next_hop, read.unreadable), (None, 0));
        assert_eq!(read.interface.as_deref(), Some("utun4"));
        assert_eq!(parse_next_hop("index: 25 utun4"), Some(NextHop::Link(25)));
    }

    #[test]
    fn a_router_that_is_no_address_is_counted_and_not_taken_for_none() {
        let read = parse_route_get(b"destination: default\n gateway: home.example\n").unwrap();
        assert_eq!((read.next_hop, read.unreadable), (None, 1));
    }

    #[test]
    fn no_route_is_an_error() {
        assert!(parse_route_get(b"").is_err());
        assert!(parse_route_get(b"route: writing to routing socket: not in table\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(output: Vec<u8>) {
            let _ = parse_route_get(&output);
        }

        #[test]
        fn what_is_printed_is_read_back(ip: std::net::IpAddr, interface in "[a-z]{2,6}[0-9]{1,2}") {
            let printed = format!(
                "   route to: default\ndestination: default\n    gateway: {ip}\n  interface: {interface}\n"
            );
            let read = parse_route_get(printed.as_bytes()).unwrap();
            prop_assert_eq!(read.next_hop, router(&ip.to_string()));
            prop_assert_eq!(read.interface, Some(interface));
            prop_assert_eq!(read.unreadable, 0);
        }
    }
}
