//! A default route.

use std::net::IpAddr;

/// One default route of the main routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The next hop; `None` when the interface leads to one peer only (tunnels, PPP).
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by.
    pub interface: String,
    /// The kernel's preference, lower first; `None` where it is not told (macOS).
    pub metric: Option<u32>,
    /// `true` for `::/0`, `false` for `0.0.0.0/0`.
    pub ipv6: bool,
}

impl DefaultRoute {
    /// The gateway as text, a link-local one with its interface: `fe80::1%eth0`.
    #[must_use]
    pub fn gateway_text(&self) -> Option<String> {
        match self.gateway? {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                Some(format!("{address}%{}", self.interface))
            }
            address => Some(address.to_string()),
        }
    }
}
