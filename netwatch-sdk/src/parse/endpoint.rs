//! An address with a port, in all the ways that `nettop`, `lsof`, `netstat` and
//! `ss` print one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::address::{Address, parse_address};

/// One end of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// `None` for a wildcard, `*`.
    pub(crate) address: Option<Address>,
    /// `None` for a wildcard, `*`.
    pub(crate) port: Option<u16>,
}

impl Endpoint {
    /// As the local end of a socket: a wildcard is the unspecified address of
    /// the socket's family, or port 0.
    pub(crate) fn local(&self, ipv6: bool) -> SocketAddr {
        let port = self.port.unwrap_or(0);
        match &self.address {
            Some(address) => address.with_port(port),
            None if ipv6 => (Ipv6Addr::UNSPECIFIED, port).into(),
            None => (Ipv4Addr::UNSPECIFIED, port).into(),
        }
    }

    /// As the remote end of a socket: `None` when it is not connected.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        let address = self.address.as_ref()?;
        let remote = address.with_port(self.port.unwrap_or(0));
        (!(remote.ip().is_unspecified() && remote.port() == 0)).then_some(remote)
    }
}

/// `192.0.2.1:80`, `192.0.2.1.80`, `[2001:db8::1]:80`, `2001:db8::1.80`,
/// `fe80::1%en0.80`, `::ffff:192.0.2.1:80`, `*:80`, `*.80`, `*:*`, `*.*`, `*`.
///
/// `None` for host and service names (the tools are run with numbers only), for
/// text that is cut, and for an IPv6 address whose port is set off by a colon
/// alone: `::1:22` can be read in two ways.
pub(crate) fn parse_endpoint(text: &str) -> Option<Endpoint> {
    if text == "*" {
        return Some(Endpoint {
            address: None,
            port: None,
        });
    }
    let (address, port) = split_port(text)?;
    let address = match address {
        "*" => None,
        address => Some(parse_address(address)?),
    };
    let port = match port {
        "*" => None,
        port => Some(parse_port(port)?),
    };
    Some(Endpoint { address, port })
}

fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        return address
            .contains(':')
            .then_some((address, rest.strip_prefix(':')?));
    }
    if let Some(rest) = text.strip_prefix('*') {
        return Some(("*", rest.strip_prefix([':', '.'])?));
    }
    let (colon, dot) = (text.rfind(':'), text.rfind('.'));
    match (colon, dot) {
        // `192.0.2.1:80` and `::ffff:192.0.2.1:80`
        (Some(colon), Some(dot)) if dot < colon => split_at(text, colon),
        // `192.0.2.1.80`, `2001:db8::1.80` and `fe80::1%en0.80`
        (_, Some(dot)) => split_at(text, dot),
        (_, None) => None,
    }
}

fn split_at(text: &str, separator: usize) -> Option<(&str, &str)> {
    let (address, port) = text.split_at_checked(separator)?;
    Some((address, port.get(1..)?))
}

/// Digits only: `parse` alone would also take a sign.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn endpoint(address: &str, port: Option<u16>) -> Option<Endpoint> {
        Some(Endpoint {
            address: Some(parse_address(address).unwrap()),
            port,
        })
    }

    #[test]
    fn every_way_of_setting_off_the_port_is_read() {
        let port = Some(80);
        for text in [
            "192.0.2.1:80",
            "192.0.2.1.80",
            "::ffff:192.0.2.1:80",
            "[::ffff:192.0.2.1]:80",
        ] {
            assert_eq!(parse_endpoint(text), endpoint("192.0.2.1", port), "{text}");
        }
        for text in ["[2001:db8::1]:80", "2001:db8::1.80"] {
            assert_eq!(
                parse_endpoint(text),
                endpoint("2001:db8::1", port),
                "{text}"
            );
        }
        for text in ["fe80::1%en0.80", "[fe80::1%en0]:80"] {
            assert_eq!(
                parse_endpoint(text),
                endpoint("fe80::1%en0", port),
                "{text}"
            );
        }
        assert_eq!(
            parse_endpoint("fe80::1%eth0.100.80"),
            endpoint("fe80::1%eth0.100", port)
        );
        assert_eq!(parse_endpoint("::1.*"), endpoint("::1", None));
    }

    #[test]
    fn wildcards_are_no_address_and_no_port() {
        for text in ["*", "*:*", "*.*"] {
            let read = parse_endpoint(text).unwrap();
            assert_eq!((read.address, read.port), (None, None), "{text}");
        }
        for text in ["*:5353", "*.5353"] {
            let read = parse_endpoint(text).unwrap();
            assert_eq!((read.address, read.port), (None, Some(5353)), "{text}");
        }
    }

    #[test]
    fn a_name_or_a_cut_address_is_no_endpoint() {
        for text in [
            "",
            ":",
            ".",
            "[",
            "[]:1",
            "[::1]",
            "[::1]80",
            "[192.0.2.1]:80",
            "::1:22",
            "2001:db8::1",
            "example.org:443",
            "192.0.2.1:https",
            "192.0.2.1:",
            "192.0.2.1:+80",
            "192.0.2.1:65536",
            "192.168.1.221",
            "2600:1700:bab0:d.5x",
            "*80",
            "*:-1",
        ] {
            assert_eq!(parse_endpoint(text), None, "{text}");
        }
    }

    #[test]
    fn a_wildcard_has_the_family_of_its_socket() {
        let any = parse_endpoint("*:80").unwrap();
        assert_eq!(any.local(false).to_string(), "0.0.0.0:80");
        assert_eq!(any.local(true).to_string(), "[::]:80");
        assert_eq!(any.remote(), None);
        assert_eq!(parse_endpoint("0.0.0.0:0").unwrap().remote(), None);
        let remote = parse_endpoint("192.0.2.1:443").unwrap().remote();
        assert_eq!(remote.unwrap().to_string(), "192.0.2.1:443");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_endpoint(&text);
        }

        #[test]
        fn no_text_of_the_right_letters_makes_it_panic(text in r"[\[\]0-9a-f:.%*]{0,40}") {
            let _ = parse_endpoint(&text);
        }

        #[test]
        fn what_each_tool_prints_is_read_back(ip: IpAddr, port: u16) {
            let address = parse_address(&ip.to_string()).unwrap();
            let expected = Some(Endpoint { address: Some(address.clone()), port: Some(port) });
            let with_colon = match ip {
                IpAddr::V4(ip) => format!("{ip}:{port}"),
                IpAddr::V6(ip) => format!("[{ip}]:{port}"),
            };
            prop_assert_eq!(parse_endpoint(&with_colon), expected.clone());
            prop_assert_eq!(parse_endpoint(&format!("{ip}.{port}")), expected);
        }
    }
}
