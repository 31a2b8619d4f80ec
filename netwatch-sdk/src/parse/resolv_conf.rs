//! `resolv.conf`: the `nameserver` lines.

use std::net::IpAddr;

use super::lines::{Lines, parse_text_lines};

/// The servers in order, each an address and the interface after its `%`.
pub(crate) fn parse_name_servers(text: &[u8]) -> Lines<(IpAddr, Option<String>)> {
    parse_text_lines(text, |line| {
        if line.starts_with(['#', ';']) {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return Ok(None);
        }
        let server = words.next().ok_or("nameserver without an address")?;
        let (address, interface) = match server.split_once('%') {
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (server, None),
        };
        let address = address
            .parse()
            .map_err(|_| "nameserver is not an address")?;
        Ok(Some((address, interface)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn servers_come_in_order_with_their_interface() {
        let text = b"# made by hand\n; nameserver 9.9.9.9\nsearch example.net\n\
            nameserver 192.0.2.53 # first\nnameserver\tfe80::53%eth0\r\nnameserver 2001:db8::53\n";
        let lines = parse_name_servers(text);
        assert_eq!(
            lines.rows,
            [
                ("192.0.2.53".parse().unwrap(), None),
                ("fe80::53".parse().unwrap(), Some("eth0".to_owned())),
                ("2001:db8::53".parse().unwrap(), None),
            ]
        );
        assert_eq!(lines.bad, []);
    }

    #[test]
    fn a_name_or_nothing_in_place_of_an_address_is_a_bad_line() {
        let lines = parse_name_servers(b"nameserver\nnameserver dns.example\nnameserver 192.0.2.1");
        assert_eq!(lines.rows, [("192.0.2.1".parse().unwrap(), None)]);
        assert_eq!(lines.bad.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_and_bad_lines_never_a_panic(bytes: Vec<u8>) {
            parse_name_servers(&bytes);
        }

        #[test]
        fn every_address_survives(address: IpAddr) {
            let lines = parse_name_servers(format!("nameserver {address}\n").as_bytes());
            prop_assert_eq!(lines.rows, vec![(address, None)]);
        }
    }
}
