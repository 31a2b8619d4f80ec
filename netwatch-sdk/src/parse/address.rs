//! IP addresses as command-line tools print them: with a zone, IPv4-mapped, or
//! with the interface's number inside.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// An IP address and the interface it is valid on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// An IPv4-mapped IPv6 address is held as IPv4.
    pub(crate) ip: IpAddr,
    /// `None` where the tool prints none.
    pub(crate) zone: Option<Zone>,
}

/// The interface that an address is valid on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Zone {
    /// Its number.
    Index(u32),
    /// Its name.
    Name(Box<str>),
}

impl Address {
    /// With a port; the scope is 0 unless the zone is a number.
    pub(crate) fn with_port(&self, port: u16) -> std::net::SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => {
                let scope = match self.zone {
                    Some(Zone::Index(index)) => index,
                    Some(Zone::Name(_)) | None => 0,
                };
                SocketAddrV6::new(ip, port, 0, scope).into()
            }
        }
    }
}

/// `192.0.2.1`, `127.0.0.53%lo`, `2001:db8::1`, `fe80::1%en0`, `::ffff:192.0.2.1`.
///
/// BSD kernels keep the number of a link-local address's interface in its
/// second 16 bits, and some tools print that (`fe80:4::1`): it is taken out.
pub(crate) fn parse_address(text: &str) -> Option<Address> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(parse_zone(zone)?)),
        None => (text, None),
    };
    match ip.parse().ok()? {
        IpAddr::V4(ip) => Some(Address {
            ip: ip.into(),
            zone,
        }),
        IpAddr::V6(ip) => {
            if let Some(ip) = ip.to_ipv4_mapped() {
                return Some(Address {
                    ip: ip.into(),
                    zone,
                });
            }
            let (ip, embedded) = without_embedded_zone(ip);
            Some(Address {
                ip: ip.into(),
                zone: zone.or(embedded),
            })
        }
    }
}

fn parse_zone(text: &str) -> Option<Zone> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '%' || c == ']') {
        return None;
    }
    Some(match text.parse() {
        Ok(index) => Zone::Index(index),
        Err(_) => Zone::Name(text.into()),
    })
}

fn without_embedded_zone(ip: Ipv6Addr) -> (Ipv6Addr, Option<Zone>) {
    let [first, second, rest @ ..] = ip.segments();
    if !ip.is_unicast_link_local() || second == 0 {
        return (ip, None);
    }
    let [c, d, e, f, g, h] = rest;
    (
        Ipv6Addr::new(first, 0, c, d, e, f, g, h),
        Some(Zone::Index(u32::from(second))),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(ip: &str, zone: Option<Zone>) -> Option<Address> {
        Some(Address {
            ip: ip.parse().unwrap(),
            zone,
        })
    }

    #[test]
    fn a_zone_is_a_name_or_a_number() {
        let en0 = Some(Zone::Name("en0".into()));
        assert_eq!(parse_address("fe80::1%en0"), address("fe80::1", en0));
        let four = Some(Zone::Index(4));
        assert_eq!(parse_address("fe80::1%4"), address("fe80::1", four));
        let lo = Some(Zone::Name("lo".into()));
        assert_eq!(parse_address("127.0.0.53%lo"), address("127.0.0.53", lo));
        for bad in ["fe80::1%", "fe80::1%a b", "fe80::1%a%b", "%en0"] {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_interface_inside_a_link_local_address_is_taken_out() {
        let fifteen = Some(Zone::Index(15));
        assert_eq!(
            parse_address("fe80:f::aede:48ff:fe00:1122"),
            address("fe80::aede:48ff:fe00:1122", fifteen)
        );
        assert_eq!(parse_address("2001:f::1"), address("2001:f::1", None));
    }

    #[test]
    fn an_ipv4_mapped_address_is_ipv4() {
        assert_eq!(
            parse_address("::ffff:192.0.2.1"),
            address("192.0.2.1", None)
        );
    }

    #[test]
    fn only_a_numeric_zone_becomes_a_scope() {
        let numbered = parse_address("fe80::1%7").unwrap().with_port(80);
        assert_eq!(numbered.to_string(), "[fe80::1%7]:80");
        let named = parse_address("fe80::1%en0").unwrap().with_port(80);
        assert_eq!(named.to_string(), "[fe80::1]:80");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_address(&text);
        }

        #[test]
        fn what_is_printed_is_read_back(ip: IpAddr) {
            let plain = match ip {
                IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none() && !v6.is_unicast_link_local(),
                IpAddr::V4(_) => true,
            };
            prop_assume!(plain);
            prop_assert_eq!(parse_address(&ip.to_string()), Some(Address { ip, zone: None }));
        }
    }
}
