//! An address that may belong to one interface.

use std::{fmt, net::IpAddr, str::FromStr};

/// An IP address, and for a link-local one the interface it is valid on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScopedIp {
    /// The address.
    pub address: IpAddr,
    /// The interface's name or number, as after the `%` of `fe80::1%eth0`.
    pub interface: Option<String>,
}

impl From<IpAddr> for ScopedIp {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            interface: None,
        }
    }
}

impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.interface {
            Some(interface) => write!(f, "%{interface}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ScopedIp {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, interface) = match text.split_once('%') {
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            address: address.parse()?,
            interface,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_the_same_thing() {
        for text in ["192.0.2.53", "2001:db8::53", "fe80::53%eth0"] {
            assert_eq!(text.parse::<ScopedIp>().unwrap().to_string(), text);
        }
        assert!("dns.example".parse::<ScopedIp>().is_err());
    }
}
