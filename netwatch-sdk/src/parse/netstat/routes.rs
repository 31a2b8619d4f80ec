//! `netstat -rn`: the default routes.

use super::super::{
    next_hop::{NextHop, parse_next_hop},
    text,
};
use crate::Result;

/// The default routes of both families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DefaultRoutes {
    /// In the order printed.
    pub(crate) routes: Vec<DefaultRoute>,
    /// Lines of default routes that could not be read. Other routes are not looked at.
    pub(crate) unreadable: u64,
}

/// One default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// `false` for IPv4.
    pub(crate) ipv6: bool,
    /// Where its packets go next.
    pub(crate) next_hop: NextHop,
    /// The interface's name.
    pub(crate) interface: String,
    /// `true` when it is only for sockets bound to its interface.
    pub(crate) scoped: bool,
}

/// Reads the output of `netstat -rn`, with or without `-f inet` or `-l`.
///
/// # Errors
///
/// When there is no header of a route table.
pub(crate) fn parse_netstat_routes(output: &[u8]) -> Result<DefaultRoutes> {
    let mut read = DefaultRoutes::default();
    let mut ipv6 = false;
    let mut interface = None;
    for line in text::lines(output) {
        match line.trim() {
            "Internet:" => ipv6 = false,
            "Internet6:" => ipv6 = true,
            _ => {}
        }
        let mut cells = line.split_ascii_whitespace();
        match cells.next() {
            Some("Destination") => {
                interface = line
                    .split_ascii_whitespace()
                    .position(|column| column == "Netif");
            }
            Some("default") => {
                let route = interface.and_then(|interface| parse_default(&line, interface, ipv6));
                match route {
                    Some(route) => read.routes.push(route),
                    None => read.unreadable += 1,
                }
            }
            _ => {}
        }
    }
    if interface.is_none() {
        return Err(text::not_in_format("netstat", "route table", output));
    }
    Ok(read)
}

/// `default   192.0.2.1   UGScg   en0`
fn parse_default(line: &str, interface: usize, ipv6: bool) -> Option<DefaultRoute> {
    let cells: Vec<&str> = line.split_ascii_whitespace().collect();
    let next_hop = parse_next_hop(cells.get(1)?)?;
    let same_family = match &next_hop {
        NextHop::Router(address) => address.ip.is_ipv6() == ipv6,
        NextHop::Link(_) => true,
    };
    same_family.then_some(())?;
    Some(DefaultRoute {
        ipv6,
        next_hop,
        scoped: cells.get(2)?.contains('I'),
        interface: (*cells.get(interface)?).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::address::parse_address;

    const BOTH: &[u8] =
        include_bytes!("../../../tests/fixtures/netstat/macos14_rn_both_families.txt");
    const USAGE: &[u8] = include_bytes!("../../../tests/fixtures/netstat/macos10_rnl_usage.txt");

    fn router(address: &str) -> NextHop {
        NextHop::Router(parse_address(address).unwrap())
    }

    #[test]
    fn the_general_route_is_the_one_without_a_scope() {
        let read = parse_netstat_routes(BOTH).unwrap();
        assert_eq!(read.unreadable, 0);
        assert_eq!(read.routes.len(), 5);
        let general = |ipv6| {
            let mut routes = read.routes.iter();
            routes
                .find(|route| route.ipv6 == ipv6 && !route.scoped)
                .unwrap()
        };
        let (ipv4, ipv6) = (general(false), general(true));
        assert_eq!(ipv4.next_hop, router("192.0.2.1"));
        assert_eq!(ipv4.interface, "en0");
        assert_eq!(ipv6.next_hop, router("fe80::1%en0"));
    }

    #[test]
    fn routes_of_tunnels_have_a_link_and_a_scope() {
        let read = parse_netstat_routes(BOTH).unwrap();
        assert_eq!(read.routes[1].next_hop, NextHop::Link(17));
        assert!(read.routes[1].scoped);
        assert_eq!(read.routes[4].next_hop, router("fe80::%utun0"));
        assert!(read.routes[4].scoped);
    }

    #[test]
    fn columns_of_use_and_size_before_the_interface_change_nothing() {
        let read = parse_netstat_routes(USAGE).unwrap();
        assert_eq!(read.routes.len(), 1);
        assert_eq!(read.routes[0].interface, "en0");
        assert_eq!(read.routes[0].next_hop, router("192.0.2.254"));
    }

    #[test]
    fn a_table_without_a_default_route_is_empty_and_no_error() {
        let read = parse_netstat_routes(
            b"Routing tables\n\nInternet:\nDestination Gateway Flags Netif Expire\n127 127.0.0.1 UCS lo0\n",
        )
        .unwrap();
        assert_eq!(read, DefaultRoutes::default());
    }

    #[test]
    fn a_router_by_name_or_of_the_other_family_costs_that_line() {
        let read = parse_netstat_routes(
            b"Internet:\nDestination Gateway Flags Netif Expire\ndefault home.example UGSc en0\ndefault fe80::1%en0 UGSc en0\ndefault 192.0.2.1 UGSc\ndefault\n",
        )
        .unwrap();
        assert!(read.routes.is_empty());
        assert_eq!(read.unreadable, 4);
    }

    #[test]
    fn output_without_a_table_is_an_error() {
        assert!(parse_netstat_routes(b"").is_err());
        assert!(parse_netstat_routes(b"netstat: option requires an argument -- f\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(output: Vec<u8>) {
            let _ = parse_netstat_routes(&output);
        }

        #[test]
        fn no_mutation_of_a_real_layout_makes_it_panic(at in 0..BOTH.len(), byte: u8, end in 0..BOTH.len()) {
            let mut output = BOTH.to_vec();
            output[at] = byte;
            output.truncate(end);
            let _ = parse_netstat_routes(&output);
        }

        #[test]
        fn what_is_printed_is_read_back(
            routes in prop::collection::vec((any::<std::net::Ipv4Addr>(), any::<bool>(), "[a-z]{2,5}[0-9]"), 0..6),
        ) {
            let mut printed = String::from(
                "Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire\n",
            );
            for (router, scoped, interface) in &routes {
                let flags = if *scoped { "UGScIg" } else { "UGScg" };
                printed.push_str(&format!("{:<18} {router:<18} {flags:<14} {interface:>10}\n", "default"));
            }
            let expected: Vec<_> = routes
                .into_iter()
                .map(|(ip, scoped, interface)| DefaultRoute {
                    ipv6: false,
                    next_hop: router(&ip.to_string()),
                    interface,
                    scoped,
                })
                .collect();
            let read = parse_netstat_routes(printed.as_bytes()).unwrap();
            prop_assert_eq!(read.routes, expected);
            prop_assert_eq!(read.unreadable, 0);
        }
    }
}
