//! Interfaces by rtnetlink, in the network namespace of the calling thread.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{
        InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64,
    },
    tc::{TcAttribute, TcHandle, TcMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::actor::unavailable;

/// Sends one request and returns the answers to it.
fn ask(message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(io::Error::from(error).into()),
                other => bail!("netlink answered {other:?}"),
            }
        }
    }
}

fn links() -> Result<Vec<LinkMessage>> {
    let answers = ask(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        NLM_F_DUMP,
    )?;
    let link = |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(link).collect())
}

fn link(name: &str) -> Result<LinkMessage> {
    let named = |link: &LinkMessage| {
        let mut attributes = link.attributes.iter();
        attributes.any(|one| matches!(one, LinkAttribute::IfName(is) if is == name))
    };
    let found = links()?.into_iter().find(named);
    found.with_context(|| format!("no interface {name}"))
}

/// How many interfaces there are.
pub(crate) fn link_count() -> Result<usize> {
    Ok(links()?.len())
}

/// The number of an interface.
pub(crate) fn index(name: &str) -> Result<u32> {
    Ok(link(name)?.header.index)
}

/// The interface's own counters.
pub(crate) fn counters(name: &str) -> Result<Stats64> {
    let attributes = link(name)?.attributes;
    let counters = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(counters) => Some(*counters),
        _ => None,
    });
    counters.with_context(|| format!("{name} has no counters"))
}

/// Switches an interface on.
pub(crate) fn up(name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index(name)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
    Ok(())
}

/// A pair of interfaces joined by a wire: one here, the other in namespace `there`.
pub(crate) fn wire(here: &str, other: &str, there: BorrowedFd<'_>) -> Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(other.to_owned()),
        LinkAttribute::NetNsFd(there.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(here.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    ask(RouteNetlinkMessage::NewLink(message), flags)?;
    Ok(())
}

/// Gives an interface an address that may be used at once.
pub(crate) fn address(name: &str, address: IpAddr, prefix_len: u8) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = prefix_len;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = index(name)?;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    ask(RouteNetlinkMessage::NewAddress(message), flags)?;
    Ok(())
}

/// Delays and drops what an interface sends, from now on, by the queueing discipline `netem`.
pub(crate) fn impair(name: &str, delay: Duration, loss_percent: u32) -> Result<()> {
    const TCA_OPTIONS: u16 = 2;
    /// The kernel's unit of delays, `PSCHED_SHIFT`.
    const TICK_NS: u128 = 64;
    let delay = u32::try_from(delay.as_nanos() / TICK_NS)?;
    let loss = u32::MAX / 100 * loss_percent;
    let [packets, gap, duplicate, jitter] = [10_000, 0, 0, 0];
    let options = [delay, packets, loss, gap, duplicate, jitter];
    let options = options.iter().flat_map(|one| one.to_ne_bytes()).collect();
    let mut message = TcMessage::with_index(i32::try_from(index(name)?)?);
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("netem".to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)),
    ];
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    ask(RouteNetlinkMessage::NewQueueDiscipline(message), flags)
        .map(drop)
        .map_err(|error| unavailable("netem", error))
}
