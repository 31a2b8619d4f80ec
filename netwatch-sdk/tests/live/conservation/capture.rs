//! A packet socket that counts what passes an interface, segment by segment.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{actor::unavailable, options};

/// Every byte of an Ethernet header.
const LINK_HEADER: usize = 14;
/// `struct virtio_net_hdr`, which the kernel puts before each packet.
const OFFLOAD_HEADER: usize = 10;
/// Two flags of a TCP header.
const SYN_ACK: u8 = 0x12;

/// What passed in one direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Packets as the interface counts them.
    pub(crate) frames: u64,
    /// Their bytes with link headers.
    pub(crate) frame_bytes: u64,
    /// TCP and UDP packets once offloaded ones are cut apart.
    pub(crate) segments: u64,
    /// Their IP bytes.
    pub(crate) wire_bytes: u64,
    /// IP bytes of TCP and UDP packets, offloaded ones as one.
    pub(crate) whole_bytes: u64,
    /// Bytes of everything else without link headers: ARP, neighbour discovery, …
    pub(crate) other_bytes: u64,
    /// SYN-ACKs of IPv6, and their IP bytes.
    pub(crate) syn_acks_v6: (u64, u64),
    /// `wire_bytes` by protocol, source and destination.
    pub(crate) flows: HashMap<(u16, SocketAddr, SocketAddr), u64>,
}

impl Counts {
    pub(crate) fn link_headers(&self) -> u64 {
        self.frames * LINK_HEADER as u64
    }

    /// Headers that offloaded segments get on the wire and not on this interface.
    pub(crate) fn extra_headers(&self) -> u64 {
        self.wire_bytes - self.whole_bytes
    }
}

/// What passed in both directions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sent: Counts,
    pub(crate) received: Counts,
}

/// A packet socket and the thread that reads it.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    reader: JoinHandle<Result<()>>,
}

impl Capture {
    /// Counts every packet of interface number `index`.
    pub(crate) fn start(index: u32) -> Result<Self> {
        let every = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain numbers; the result is checked.
        let fd = Errno::result(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        })
        .context("packet socket")?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        options::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(64_i32 << 20))?;
        options::set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32)?;
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = i32::try_from(index)?;
        // SAFETY: address lives until the call returns, and its size is given.
        Errno::result(unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&tally));
        let reader = thread::spawn(move || read(&fd, &stopped, &counted));
        Ok(Self {
            stop,
            tally,
            reader,
        })
    }

    /// What was counted so far.
    pub(crate) fn so_far(&self) -> Result<Tally> {
        let tally = self.tally.lock().map_err(|_| anyhow!("panicked"))?;
        Ok(tally.clone())
    }

    /// Stops, and fails if anything was missed.
    pub(crate) fn finish(self) -> Result<()> {
        self.stop.store(true, SeqCst);
        self.reader.join().map_err(|_| anyhow!("panicked"))?
    }
}

const PACKET_VNET_HDR: i32 = 15;
const LIMIT: Duration = Duration::from_secs(120);

fn read(fd: &OwnedFd, stop: &AtomicBool, tally: &Mutex<Tally>) -> Result<()> {
    let started = Instant::now();
    let mut bytes = [0_u8; 256];
    loop {
        ensure!(started.elapsed() < LIMIT, "nobody stopped the capture");
        let stopping = stop.load(SeqCst);
        let Some((length, outgoing)) = next(fd, &mut bytes)? else {
            if stopping {
                break;
            }
            let mut waiting = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, PollTimeout::from(20_u8))?;
            continue;
        };
        let mut tally = tally.lock().map_err(|_| anyhow!("panicked"))?;
        let counts = match outgoing {
            true => &mut tally.sent,
            false => &mut tally.received,
        };
        let kept = length.min(bytes.len());
        count(counts, length - OFFLOAD_HEADER, &bytes[..kept])?;
    }
    // `struct tpacket_stats`: packets, drops.
    let mut statistics = [0_u32; 2];
    options::get(
        fd,
        libc::SOL_PACKET,
        libc::PACKET_STATISTICS,
        &mut statistics,
    )?;
    ensure!(
        statistics[1] == 0,
        "the packet socket lost {} packets",
        statistics[1]
    );
    Ok(())
}

/// The next packet's whole length with the offload header, and whether it was sent from here.
fn next(fd: &OwnedFd, bytes: &mut [u8]) -> Result<Option<(usize, bool)>> {
    // SAFETY: all zero is a valid address.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: bytes and from are writable for the sizes given.
    let length = Errno::result(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            (&raw mut from).cast(),
            &raw mut size,
        )
    });
    match length {
        Ok(length) => {
            let length = usize::try_from(length)?;
            Ok(Some((length, from.sll_pkttype == libc::PACKET_OUTGOING)))
        }
        // ENETDOWN: left over from before the interface was switched on.
        Err(Errno::EAGAIN | Errno::ENETDOWN) => Ok(None),
        Err(Errno::EINVAL) => Err(unavailable(
            "packet socket",
            "this kernel cannot describe such an offloaded packet",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Counts one packet of `frame` bytes, of which `bytes` are the first, offload header included.
fn count(counts: &mut Counts, frame: usize, bytes: &[u8]) -> Result<()> {
    counts.frames += 1;
    counts.frame_bytes += frame as u64;
    let whole = frame - LINK_HEADER;
    let gso_size = usize::from(u16::from_ne_bytes([bytes[4], bytes[5]]));
    let ip = &bytes[OFFLOAD_HEADER + LINK_HEADER..];
    let Some(packet) = transport(&bytes[OFFLOAD_HEADER + 12..], ip) else {
        counts.other_bytes += whole as u64;
        return Ok(());
    };
    let payload = whole - packet.headers;
    let segments = match gso_size {
        0 => 1,
        size => payload.div_ceil(size).max(1),
    };
    let wire = (payload + segments * packet.headers) as u64;
    counts.segments += segments as u64;
    counts.wire_bytes += wire;
    counts.whole_bytes += whole as u64;
    if packet.is_syn_ack_v6 {
        counts.syn_acks_v6.0 += 1;
        counts.syn_acks_v6.1 += wire;
    }
    *counts.flows.entry(packet.flow).or_default() += wire;
    Ok(())
}

struct Transport {
    /// IP and transport headers.
    headers: usize,
    is_syn_ack_v6: bool,
    flow: (u16, SocketAddr, SocketAddr),
}

/// A TCP or UDP packet; `None` for anything else.
fn transport(ethertype: &[u8], ip: &[u8]) -> Option<Transport> {
    let (protocol, from, to, ip_header): (u8, IpAddr, IpAddr, usize) = match ethertype {
        [0x08, 0x00, ..] => (
            *ip.get(9)?,
            Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(12..16)?).ok()?).into(),
            Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(16..20)?).ok()?).into(),
            usize::from(ip.first()? & 0x0f) * 4,
        ),
        [0x86, 0xdd, ..] => (
            *ip.get(6)?,
            Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(8..24)?).ok()?).into(),
            Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(24..40)?).ok()?).into(),
            40,
        ),
        _ => return None,
    };
    let rest = ip.get(ip_header..)?;
    let header = match protocol {
        6 => usize::from(rest.get(12)? >> 4) * 4,
        17 => 8,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let from = SocketAddr::new(from, port(0)?);
    let to = SocketAddr::new(to, port(2)?);
    Some(Transport {
        headers: ip_header + header,
        is_syn_ack_v6: protocol == 6 && from.is_ipv6() && rest.get(13)? & SYN_ACK == SYN_ACK,
        flow: (protocol.into(), from, to),
    })
}
