//! Two namespaces joined by a pair of interfaces.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    Offload,
    capture::{Capture, Tally},
    ethtool,
};
use crate::{namespace::Namespace, netlink, shape::Family};

/// An interface's own counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    /// Dropped, or with an error.
    pub(crate) lost: u64,
}

/// A packet socket, and the interface's counters when it started.
pub(crate) struct Watch {
    since: Counters,
    pub(crate) capture: Capture,
}

/// What the two independent counts of one end say.
pub(crate) struct Counted {
    pub(crate) counters: Counters,
    pub(crate) tally: Tally,
}

/// One namespace and its interface.
pub(crate) struct End {
    pub(crate) namespace: Namespace,
    pub(crate) name: &'static str,
    host: u8,
}

impl End {
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.host.into()).into(),
            Family::V4 | Family::Mapped => Ipv4Addr::new(10, 77, 0, self.host).into(),
        }
    }

    /// Starts to see every packet of the interface, from a moment on at which its
    /// counters are known: the kernel's own packets can come at any time.
    pub(crate) fn watch(&self) -> Result<Watch> {
        for _ in 0..100 {
            let since = self.counters()?;
            let index = || netlink::index(self.name);
            let capture = self.namespace.enter(|| Capture::start(index()?))?;
            if self.counters()? == since {
                return Ok(Watch { since, capture });
            }
            capture.finish()?;
        }
        bail!("{} is never quiet", self.name)
    }

    /// Makes the wire delay and lose what this end sends.
    pub(crate) fn impair(&self, delay: Duration, loss_percent: u32) -> Result<()> {
        self.namespace
            .enter(|| netlink::impair(self.name, delay, loss_percent))
    }

    fn counters(&self) -> Result<Counters> {
        let counters = self.namespace.enter(|| netlink::counters(self.name))?;
        let dropped = counters.tx_dropped + counters.rx_dropped;
        Ok(Counters {
            tx_packets: counters.tx_packets,
            tx_bytes: counters.tx_bytes,
            rx_packets: counters.rx_packets,
            rx_bytes: counters.rx_bytes,
            lost: dropped + counters.tx_errors + counters.rx_errors,
        })
    }

    /// What the interface and the packet socket counted since they were watched.
    pub(crate) fn counted(&self, watch: &Watch) -> Result<Counted> {
        let (now, since) = (self.counters()?, &watch.since);
        Ok(Counted {
            counters: Counters {
                tx_packets: now.tx_packets - since.tx_packets,
                tx_bytes: now.tx_bytes - since.tx_bytes,
                rx_packets: now.rx_packets - since.rx_packets,
                rx_bytes: now.rx_bytes - since.rx_bytes,
                lost: now.lost - since.lost,
            },
            tally: watch.capture.so_far()?,
        })
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
pub(crate) struct Pair {
    pub(crate) left: End,
    pub(crate) right: End,
}

impl Pair {
    /// Two fresh namespaces, joined and up.
    pub(crate) fn new(offload: Offload) -> Result<Self> {
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
        for end in [&pair.left, &pair.right] {
            end.namespace.enter(|| netlink::up(end.name))?;
        }
        Ok(pair)
    }
}
