//! Attempts at ports of this host that nobody has: no program sees a socket, as there is none.
//!
//! Both ends are on this host, so connect calls name their process. Where a test asks
//! what is seen of the other end, a rule keeps what that process opens from the detector.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Reader,
    detect::{Allow, Thresholds},
    wire::{AlertCategory, AlertSeverity},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::{FIRST_PORT, PORTS, SHAPE, alerts, done, reader, wait_for};
use crate::{
    actor::{Actor, unavailable},
    director::Running,
    namespace::Namespace,
    netlink,
    trial::alone,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        alone(
            "closed-ports-connect",
            "a connect scan of 100 closed ports of this host is found, and from whom",
            || found("drive", HERE_V4.into()),
        ),
        alone(
            "closed-ports-connect-v6",
            "the same over IPv6",
            || found("drive", HERE_V6.into()),
        ),
        alone(
            "closed-ports-datagrams",
            "a UDP scan of 100 closed ports is found, and from whom",
            || found("datagrams", HERE_V4.into()),
        ),
        alone(
            "closed-ports-datagrams-v6",
            "the same over IPv6",
            || found("datagrams", HERE_V6.into()),
        ),
        alone(
            "closed-ports-half-open",
            "a half-open scan of 100 closed ports is found, and from whom",
            || found("half-open", HERE_V4.into()),
        ),
        alone(
            "closed-ports-stealth",
            "a scan by FIN, by nothing and by FIN, PSH and URG is found, and from whom",
            || found("stealth", HERE_V4.into()),
        ),
        alone(
            "closed-ports-ordinary",
            "what belongs to no connection, clients that persist and late answers are nothing",
            ordinary,
        ),
        alone(
            "closed-ports-full",
            "room for 4,096 attempts: what does not fit is counted",
            full,
        ),
    ]
}

const HERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const THERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Attempts that the kernel programs have room for, and that are made.
const ROOM: u64 = 4_096;
const MANY: u16 = 5_000;

/// Parts of a TCP header.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// A datagram to each port.
pub(super) fn datagrams(actor: &Actor) -> Result<()> {
    send_datagrams(actor.peer()?.ip(), PORTS)
}

/// The same to more ports than there is room for.
pub(super) fn many_datagrams(actor: &Actor) -> Result<()> {
    send_datagrams(actor.peer()?.ip(), MANY)
}

fn send_datagrams(host: IpAddr, ports: u16) -> Result<()> {
    let any: IpAddr = match host {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    for port in FIRST_PORT..FIRST_PORT + ports {
        socket.send_to(b"?", (host, port))?;
    }
    done()
}

/// A SYN to each port, and no more.
pub(super) fn half_open(actor: &Actor) -> Result<()> {
    segments(actor, &[SYN])
}

/// What is no beginning of a connection, to hosts that only look for a SYN.
pub(super) fn stealth(actor: &Actor) -> Result<()> {
    segments(actor, &[FIN, 0, FIN | PSH | URG])
}

/// Answers to somebody who has put this host's address as the sender, and what is late
/// for a connection that is gone.
pub(super) fn backscatter(actor: &Actor) -> Result<()> {
    segments(actor, &[SYN | ACK, RST, RST | ACK, ACK, FIN | ACK, PSH | ACK])
}

/// A TCP segment to each port, with the flags in turn.
fn segments(actor: &Actor, flags: &[u8]) -> Result<()> {
    let IpAddr::V4(host) = actor.peer()?.ip() else {
        anyhow::bail!("segments are made for IPv4");
    };
    let raw = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Tcp,
    )?;
    for (port, flags) in (FIRST_PORT..FIRST_PORT + PORTS).zip(flags.iter().cycle()) {
        let segment = segment(THERE_V4, host, port, *flags);
        let to = SockaddrIn::from(SocketAddrV4::new(host, 0));
        let sent = sendto(raw.as_raw_fd(), &segment, &to, MsgFlags::empty())?;
        ensure!(sent == segment.len(), "{sent} bytes sent");
    }
    done()
}

/// A TCP header without anything behind it.
fn segment(from: Ipv4Addr, to: Ipv4Addr, port: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(45_678_u16.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend(1_u32.to_be_bytes());
    segment.extend(if flags & ACK == 0 { [0; 4] } else { [0, 0, 0, 9] });
    segment.extend([5 << 4, flags]);
    segment.extend(1024_u16.to_be_bytes());
    segment.extend([0; 4]);
    let mut summed = [from.octets(), to.octets()].concat();
    summed.extend([0, 6, 0, 20]);
    summed.extend(&segment);
    let pairs = summed.chunks_exact(2);
    let sum: u32 = pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// Is refused 200 times at three ports, as a client of a service that is down.
pub(super) fn persist(actor: &Actor) -> Result<()> {
    let host = actor.peer()?.ip();
    for n in 0..200_u16 {
        let refused = TcpStream::connect((host, FIRST_PORT + n % 3));
        ensure!(refused.is_err(), "somebody listens on {host}");
    }
    done()
}

/// Answers from a server's port to clients that are gone.
pub(super) fn late(actor: &Actor) -> Result<()> {
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        server.send_to(b"too late", (actor.peer()?.ip(), port))?;
    }
    done()
}

/// This host and another one, by a wire.
struct Scene {
    _here: Namespace,
    there: Namespace,
    reader: Reader,
}

impl Scene {
    /// Shows the detector nothing of what a process of this name opens.
    fn new(process: String) -> Result<Self> {
        let (here, there) = (Namespace::new()?, Namespace::new()?);
        here.enter(|| {
            netlink::wire("scan0", "scan1", there.as_fd())?;
            netlink::address("scan0", HERE_V4.into(), 24)?;
            netlink::address("scan0", HERE_V6.into(), 64)?;
            netlink::up("scan0")
        })?;
        there.enter(|| {
            netlink::address("scan1", THERE_V4.into(), 24)?;
            netlink::address("scan1", THERE_V6.into(), 64)?;
            netlink::up("scan1")
        })?;
        let mut thresholds = Thresholds::default();
        thresholds.allow.push(Allow {
            process: Some(process),
            ..Allow::default()
        });
        let reader = reader(|builder| builder.detectors(thresholds))?;
        let limits = reader.collector().status().limits;
        if let Some(limit) = limits.iter().find(|limit| limit.contains("closed ports")) {
            return Err(unavailable("closed ports", limit));
        }
        Ok(Self {
            _here: here,
            there,
            reader,
        })
    }

    fn start(&self, role: &str, host: IpAddr) -> Result<Running> {
        let host = SocketAddr::new(host, 1);
        Running::start(&SHAPE, role, &[host], Some(&self.there))
    }
}

/// The name of the process with a part, as the kernel keeps it.
fn name(role: &str) -> String {
    format!("{role}-{}", SHAPE.name()).chars().take(15).collect()
}

fn found(role: &str, host: IpAddr) -> Result<()> {
    let mut scene = Scene::new(name(role))?;
    let mut process = scene.start(role, host)?;
    process.done()?;
    let told = process.truth.processes.first().context("it told nothing")?;
    ensure!(told.name == name(role), "{told:?}");
    let found = wait_for(&mut scene.reader, AlertCategory::PortScan)?;
    let from: IpAddr = match host {
        IpAddr::V4(_) => THERE_V4.into(),
        IpAddr::V6(_) => THERE_V6.into(),
    };
    let expected = format!("Port scan from {from}");
    ensure!(found.len() == 1 && found[0].message == expected, "{found:?}, not {expected}");
    ensure!(found[0].severity == AlertSeverity::Critical, "{found:?}");
    let latest = SocketAddr::new(host, FIRST_PORT + 19);
    let at_the_20th = format!("the latest {latest}");
    ensure!(found[0].detail.ends_with(&at_the_20th), "{found:?}, not {at_the_20th}");
    let lost = scene.reader.collector().status().lost;
    ensure!(lost.closed_ports == 0, "{lost:?}");
    process.release()
}

fn ordinary() -> Result<()> {
    let mut scene = Scene::new(name("persist"))?;
    for role in ["backscatter", "persist", "late"] {
        let mut process = scene.start(role, HERE_V4.into())?;
        process.done()?;
        thread::sleep(Duration::from_millis(50));
        let found = alerts(&mut scene.reader, AlertCategory::PortScan)?;
        ensure!(found.is_empty(), "{role}: {found:?}");
        process.release()?;
    }
    // That it would have been seen.
    let mut process = scene.start("half-open", HERE_V4.into())?;
    process.done()?;
    let found = wait_for(&mut scene.reader, AlertCategory::PortScan)?;
    ensure!(found.len() == 1, "{found:?}");
    process.release()
}

fn full() -> Result<()> {
    let mut scene = Scene::new(name("many-datagrams"))?;
    let mut process = scene.start("many-datagrams", HERE_V4.into())?;
    process.done()?;
    let found = wait_for(&mut scene.reader, AlertCategory::PortScan)?;
    ensure!(found.len() == 1, "{found:?}");
    let lost = scene.reader.collector().status().lost;
    ensure!(lost.closed_ports == u64::from(MANY) - ROOM, "{lost:?}");
    process.release()
}
