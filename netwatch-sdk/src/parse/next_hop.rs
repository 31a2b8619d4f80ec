//! How macOS prints where packets of a route go next.

use super::address::{Address, parse_address};

/// Where packets of a route go next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// To a router.
    Router(Address),
    /// Straight out of the interface with this number, as with a tunnel.
    Link(u32),
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

    #[test]
    fn a_tunnel_has_a_link_in_place_of_a_router() {
        assert_eq!(parse_next_hop("link#17"), Some(NextHop::Link(17)));
        assert_eq!(parse_next_hop("index: 25 utun4"), Some(NextHop::Link(25)));
        assert_eq!(parse_next_hop("index:"), None);
        assert_eq!(parse_next_hop("home.example"), None);
    }

    proptest! {
        #[test]
        fn an_address_is_read_back(ip: std::net::IpAddr) {
            let router = parse_address(&ip.to_string()).map(NextHop::Router);
            prop_assert_eq!(parse_next_hop(&ip.to_string()), router);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse_next_hop(&text);
        }
    }
}
