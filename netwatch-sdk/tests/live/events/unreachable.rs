//! Nobody answers the question for a neighbour's address.

use std::{net::IpAddr, os::fd::AsFd};

use anyhow::Result;

use super::{Heard, collector, traffic::SHAPES};
use crate::{director::Running, namespace::Namespace, netlink};

pub(super) fn unreachable() -> Result<()> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.enter(|| {
        netlink::wire("ev0", "ev1", there.as_fd())?;
        netlink::address("ev0", IpAddr::from([10, 78, 0, 1]), 24)?;
        netlink::address("ev0", "fd78::1".parse()?, 64)?;
        netlink::up("ev0")
    })?;
    there.enter(|| netlink::up("ev1"))?;
    let collector = collector(|builder| builder)?;
    let mut events = collector.events()?;
    let nobody = ["10.78.0.9:9".parse()?, "[fd78::9]:9".parse()?];
    let mut client = Running::start(&SHAPES[0], "unreachable", &nobody, Some(&here))?;
    client.done()?;
    client.release()?;
    let mut heard = Heard::default();
    heard.listen_for(&mut events, &client.truth);
    heard.check(&collector, &client.truth)
}
