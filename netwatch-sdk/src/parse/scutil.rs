//! `scutil --dns` of macOS: the resolvers, in the order they are asked.

use super::{
    address::{Address, parse_address},
    text,
};
use crate::Result;

/// All that one run printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DnsConfiguration {
    /// For names in general, and for single domains.
    pub(crate) resolvers: Vec<Resolver>,
    /// For sockets that are bound to one interface.
    pub(crate) scoped: Vec<Resolver>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// One resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// In the order they are asked. None for multicast.
    pub(crate) nameservers: Vec<Address>,
    /// The one domain it is for; `None` when it is for all names.
    pub(crate) domain: Option<String>,
    /// In the order printed.
    pub(crate) search_domains: Vec<String>,
    /// `None` where not printed.
    pub(crate) interface: Option<String>,
    /// Asked for its own domains only, next to the others.
    pub(crate) supplemental: bool,
    /// Multicast DNS.
    pub(crate) multicast: bool,
}

impl DnsConfiguration {
    /// The servers that names in general are asked from, each once.
    pub(crate) fn nameservers(&self) -> Vec<&Address> {
        let general = self.resolvers.iter().filter(|resolver| {
            !resolver.supplemental && !resolver.multicast && resolver.domain.is_none()
        });
        let mut servers = Vec::new();
        for server in general.flat_map(|resolver| &resolver.nameservers) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }
}

/// Reads the output of `scutil --dns`.
///
/// # Errors
///
/// When it does not begin with `DNS configuration`, or says that there is none.
pub(crate) fn parse_scutil_dns(output: &[u8]) -> Result<DnsConfiguration> {
    let mut read = DnsConfiguration::default();
    let mut section = Section::Before;
    let mut inside = false;
    for line in text::lines(output) {
        let line = line.trim();
        if line.starts_with("DNS configuration") {
            section = if line.contains("scoped") {
                Section::Scoped
            } else {
                Section::General
            };
            inside = false;
            continue;
        }
        let list = match section {
            Section::Before => continue,
            Section::General => &mut read.resolvers,
            Section::Scoped => &mut read.scoped,
        };
        if line.starts_with("resolver #") {
            list.push(Resolver::default());
            inside = true;
        } else if !line.is_empty() {
            let resolver = list.last_mut().filter(|_| inside);
            let readable = resolver.and_then(|resolver| resolver.line(line));
            read.unreadable += u64::from(readable.is_none());
        }
    }
    if matches!(section, Section::Before) {
        return Err(text::not_in_format("scutil", "DNS configuration", output));
    }
    Ok(read)
}

enum Section {
    Before,
    General,
    Scoped,
}

impl Resolver {
    /// `None` when the line could not be read.
    fn line(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once(" : ")?;
        // `nameserver[0]`; the numbers can have gaps.
        let key = key.split_once('[').map_or(key, |(key, _)| key).trim();
        let value = value.trim();
        match key {
            "nameserver" => self.nameservers.push(parse_address(value)?),
            "search domain" => self.search_domains.push(value.to_owned()),
            "domain" => self.domain = Some(value.to_owned()),
            "if_index" => {
                let (_, name) = value.split_once('(')?;
                self.interface = Some(name.strip_suffix(')')?.to_owned());
            }
            "flags" => {
                self.supplemental = value.split(',').any(|flag| flag.trim() == "Supplemental");
            }
            "options" => {
                self.multicast = value
                    .split_ascii_whitespace()
                    .any(|option| option == "mdns");
            }
            // Timeout, order, reachability, port.
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPLIT: &[u8] = include_bytes!("../../tests/fixtures/scutil/macos_dns_split.txt");

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter()
            .map(|text| parse_address(text).unwrap())
            .collect()
    }

    #[test]
    fn servers_are_in_the_order_they_are_asked_and_of_both_families() {
        let read = parse_scutil_dns(SPLIT).unwrap();
        assert_eq!(read.unreadable, 0);
        assert_eq!(
            read.resolvers[1].nameservers,
            addresses(&["192.0.2.53", "2001:db8::53", "fe80::1%en0"])
        );
        assert_eq!(read.resolvers[1].interface.as_deref(), Some("en0"));
        assert_eq!(
            read.resolvers[1].search_domains,
            ["home.example", "lab.example"]
        );
    }

    #[test]
    fn scoped_resolvers_are_kept_apart() {
        let read = parse_scutil_dns(SPLIT).unwrap();
        assert_eq!((read.resolvers.len(), read.scoped.len()), (4, 2));
        assert_eq!(read.scoped[1].nameservers, addresses(&["198.51.100.53"]));
        assert_eq!(read.scoped[1].interface.as_deref(), Some("utun4"));
    }

    #[test]
    fn names_in_general_are_not_asked_from_supplemental_multicast_or_domain_resolvers() {
        let read = parse_scutil_dns(SPLIT).unwrap();
        let servers: Vec<_> = read.nameservers().into_iter().cloned().collect();
        assert_eq!(
            servers,
            addresses(&["192.0.2.53", "2001:db8::53", "fe80::1%en0"])
        );
        assert!(read.resolvers[0].supplemental);
        assert_eq!(read.resolvers[2].domain.as_deref(), Some("corp.example"));
        assert!(read.resolvers[3].multicast);
    }

    #[test]
    fn a_server_that_is_no_address_costs_that_line() {
        let read = parse_scutil_dns(
            b"DNS configuration\n\nresolver #1\n  nameserver[0] : nowhere\n  nameserver[1] : 192.0.2.1\n",
        )
        .unwrap();
        assert_eq!(read.unreadable, 1);
        assert_eq!(read.resolvers[0].nameservers, addresses(&["192.0.2.1"]));
    }

    #[test]
    fn a_line_outside_of_any_resolver_is_counted() {
        let read = parse_scutil_dns(
            b"DNS configuration\n  nameserver[0] : 192.0.2.1\nresolver #1\nDNS configuration (for scoped queries)\n  nameserver[0] : 192.0.2.1\n",
        )
        .unwrap();
        assert_eq!(read.unreadable, 2);
        assert!(read.resolvers[0].nameservers.is_empty());
    }

    #[test]
    fn no_configuration_is_an_error() {
        assert!(parse_scutil_dns(b"").is_err());
        assert!(parse_scutil_dns(b"No DNS configuration available\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(output: Vec<u8>) {
            let _ = parse_scutil_dns(&output);
        }

        #[test]
        fn no_mutation_of_a_real_layout_makes_it_panic(at in 0..SPLIT.len(), byte: u8, end in 0..SPLIT.len()) {
            let mut output = SPLIT.to_vec();
            output[at] = byte;
            output.truncate(end);
            let _ = parse_scutil_dns(&output);
        }

        #[test]
        fn what_is_printed_is_read_back(servers in prop::collection::vec(any::<std::net::IpAddr>(), 0..6)) {
            let mut printed = String::from("DNS configuration\n\nresolver #1\n");
            for (number, server) in servers.iter().enumerate() {
                printed.push_str(&format!("  nameserver[{number}] : {server}\n"));
            }
            printed.push_str("  flags    : Request A records\n");
            let read = parse_scutil_dns(printed.as_bytes()).unwrap();
            let expected: Vec<_> = servers.iter().map(|ip| parse_address(&ip.to_string()).unwrap()).collect();
            prop_assert_eq!(&read.resolvers[0].nameservers, &expected);
            prop_assert_eq!(read.unreadable, 0);
        }
    }
}
