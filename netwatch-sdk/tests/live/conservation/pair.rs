//! Two namespaces joined by a pair of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use netlink_packet_route::link::Stats64;

use super::{Offload, capture::Capture, ethtool};
use crate::{namespace::Namespace, netlink, shape::Family};

/// One namespace and its interface.
pub(super) struct End {
    pub(super) namespace: Namespace,
    pub(super) name: &'static str,
    host: u8,
}

impl End {
    pub(super) fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.host.into()).into(),
            Family::V4 | Family::Mapped => Ipv4Addr::new(10, 77, 0, self.host).into(),
        }
    }

    /// Starts to see every packet of the interface.
    pub(super) fn capture(&self) -> Result<Capture> {
        self.namespace.enter(|| Capture::start(netlink::index(self.name)?))
    }

    pub(super) fn counters(&self) -> Result<Stats64> {
        self.namespace.enter(|| netlink::counters(self.name))
    }

    fn prepare(&self, offload: Offload) -> Result<()> {
        self.namespace.enter(|| {
            ethtool::segmentation(self.name, offload == Offload::On)?;
            netlink::address(self.name, self.address(Family::V4), 24)?;
            netlink::address(self.name, self.address(Family::V6), 64)
        })
    }
}

/// Both ends. The interfaces go with their namespaces.
pub(super) struct Pair {
    pub(super) left: End,
    pub(super) right: End,
}

impl Pair {
    /// Ready for traffic once [`End::capture`] was called on both ends and they are up.
    pub(super) fn new(offload: Offload) -> Result<Self> {
        let end = |name, host| -> Result<End> {
            let namespace = Namespace::new()?;
            Ok(End {
                namespace,
                name,
                host,
            })
        };
        let pair = Self {
            left: end("left", 1)?,
            right: end("right", 2)?,
        };
        let there = &pair.right.namespace;
        let wire = || netlink::wire("left", "right", std::os::fd::AsFd::as_fd(there));
        pair.left.namespace.enter(wire)?;
        pair.left.prepare(offload)?;
        pair.right.prepare(offload)?;
        Ok(pair)
    }

    /// Switches both interfaces on.
    pub(super) fn up(&self) -> Result<()> {
        for end in [&self.left, &self.right] {
            end.namespace.enter(|| netlink::up(end.name))?;
        }
        Ok(())
    }

    /// Switches both interfaces off, so that their counters stand still.
    pub(super) fn down(&self) -> Result<()> {
        for end in [&self.left, &self.right] {
            end.namespace.enter(|| netlink::down(end.name))?;
        }
        Ok(())
    }
}
