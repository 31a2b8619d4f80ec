//! The default gateway and the DNS servers of this host.
//!
//! Linux reads `/proc/net` and `/etc/resolv.conf` (behind the stub of
//! `systemd-resolved`, the servers it asks), macOS runs `netstat` and `scutil`.
//! Nothing is sent. No privilege is needed.

pub use crate::platform::{DefaultRoute, Partial, ScopedIp};
use crate::{
    Result,
    platform::{self, Host},
};

/// Every default route, IPv4 first, best metric first. Empty when there is none.
///
/// # Errors
///
/// When the routing table cannot be read.
pub fn read_default_routes() -> Result<Partial<Vec<DefaultRoute>>> {
    platform::read_default_routes(&Host::default())
}

/// Every DNS server, in the order the resolver asks them. Empty when there is none.
///
/// # Errors
///
/// When the resolver's configuration cannot be read.
pub fn read_name_servers() -> Result<Partial<Vec<ScopedIp>>> {
    platform::read_name_servers(&Host::default())
}

/// The address of the default gateway: of the best IPv4 route that has one,
/// else of the best IPv6 route, `fe80::1%eth0` when it is link-local.
///
/// `None` when there is none or the routes cannot be read;
/// [`read_default_routes`] tells which.
#[must_use]
pub fn detect_gateway() -> Option<String> {
    let routes = read_default_routes().ok()?.value;
    routes.iter().find_map(DefaultRoute::gateway_text)
}

/// The address of the first DNS server, `fe80::53%eth0` when it is link-local.
///
/// `None` when there is none or the configuration cannot be read;
/// [`read_name_servers`] tells which.
#[must_use]
pub fn detect_dns() -> Option<String> {
    let servers = read_name_servers().ok()?.value;
    servers.first().map(ToString::to_string)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::Command;

    use super::*;

    /// What follows `word` in each line of a command's output.
    fn words_after(program: &str, arguments: &[&str], word: &str) -> Option<Vec<String>> {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        let after = |line: &str| {
            let mut words = line.split_whitespace().skip_while(|found| *found != word);
            words.nth(1).map(str::to_owned)
        };
        Some(text.lines().filter_map(after).collect())
    }

    #[test]
    fn the_gateways_are_those_that_ip_shows() {
        let Some(mut expected) = words_after("ip", &["-4", "route", "show", "default"], "via")
        else {
            eprintln!("skipped: no ip");
            return;
        };
        expected.extend(words_after("ip", &["-6", "route", "show", "default"], "via").unwrap());
        expected.sort();
        let routes = read_default_routes().unwrap();
        let mut found: Vec<_> = routes
            .value
            .iter()
            .filter_map(|route| Some(route.gateway?.to_string()))
            .collect();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_dns_servers_are_those_of_resolv_conf() {
        let Ok(text) = std::fs::read_to_string("/etc/resolv.conf") else {
            eprintln!("skipped: no /etc/resolv.conf");
            return;
        };
        let first = text
            .lines()
            .find_map(|line| line.strip_prefix("nameserver "))
            .map(|server| server.trim().to_owned());
        if first
            .as_ref()
            .is_some_and(|server| server.starts_with("127."))
        {
            eprintln!("skipped: this host asks a stub");
            return;
        }
        assert_eq!(detect_dns(), first);
    }
}
