//! ICMP echoes from this process, by `surge-ping`.

use std::{
    io,
    net::IpAddr,
    process,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::runtime::{self, Runtime};

use super::{Probes, Sender};
use crate::{Error, ErrorKind, Result, platform::ScopedIp};

const LOOK_UP_TIME: Duration = Duration::from_secs(5);
/// As much as `ping` sends.
const PAYLOAD: [u8; 56] = [0; 56];

/// Echoes one after the other, each waited for `limit`.
///
/// # Errors
///
/// [`Permission`](ErrorKind::Permission) when no ICMP socket may be opened.
pub(super) fn probe(target: &ScopedIp, count: u32, limit: Duration) -> Result<Probes> {
    let target = target.clone();
    in_a_runtime(move |runtime| runtime.block_on(echo(&target, count, limit)))
}

/// The first address of a name.
pub(super) fn look_up(name: &str) -> Result<IpAddr> {
    let name = name.to_owned();
    let what = format!("look up {name}");
    in_a_runtime(move |runtime| {
        let addresses =
            async { tokio::time::timeout(LOOK_UP_TIME, tokio::net::lookup_host((name, 0))).await };
        let address = match runtime.block_on(addresses) {
            Err(_) => Err(Error::new(ErrorKind::TimedOut, what)),
            Ok(Err(cause)) => Err(Error::new(ErrorKind::Missing, what).because(cause)),
            Ok(Ok(mut addresses)) => addresses
                .next()
                .map(|address| address.ip())
                .ok_or_else(|| Error::new(ErrorKind::Missing, what)),
        };
        // The resolver may still be waiting on its thread.
        runtime.shutdown_background();
        address
    })
}

/// Runs `work` with a runtime of its own on a thread of its own: one cannot be
/// entered on a thread that already drives one.
fn in_a_runtime<T: Send + 'static>(
    work: impl FnOnce(Runtime) -> Result<T> + Send + 'static,
) -> Result<T> {
    let failed = |cause| Error::io("start a thread for ICMP", cause);
    let thread = thread::Builder::new()
        .name("netwatch-icmp".into())
        .spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            work(runtime.map_err(failed)?)
        })
        .map_err(failed)?;
    let ended = || Error::new(ErrorKind::Io, "the ICMP thread ended early");
    thread.join().map_err(|_| ended())?
}

async fn echo(target: &ScopedIp, count: u32, limit: Duration) -> Result<Probes> {
    let scope = target
        .interface
        .as_deref()
        .map(interface_index)
        .transpose()?;
    let kind = match target.address {
        IpAddr::V4(_) => ICMP::V4,
        IpAddr::V6(_) => ICMP::V6,
    };
    let client = Client::new(&Config::builder().kind(kind).build()).map_err(no_socket)?;
    let mut pinger = client.pinger(target.address, identifier()).await;
    pinger.scope_id(scope.unwrap_or(0)).timeout(limit);
    let mut rtts = Vec::new();
    for sequence in (0..u16::MAX).zip(0..count).map(|(sequence, _)| sequence) {
        let start = Instant::now();
        match pinger.ping(PingSequence(sequence), &PAYLOAD).await {
            // Not the duration it returns: that starts after sending, when a
            // near target has already answered.
            Ok((answer, _)) if is_echo_reply(&answer) => rtts.push(start.elapsed()),
            // A router, or this host, says that the target cannot be reached.
            Ok(_) => {}
            Err(SurgeError::Timeout { .. }) => {}
            Err(SurgeError::IOError(cause)) if is_unreachable(&cause) => {}
            Err(SurgeError::IOError(cause)) => {
                return Err(Error::io(format!("send an ICMP echo to {target}"), cause));
            }
            Err(cause) => {
                let what = format!("send an ICMP echo to {target}");
                return Err(Error::new(ErrorKind::Io, what).because(cause));
            }
        }
    }
    let received = u32::try_from(rtts.len()).unwrap_or(count);
    Ok(Probes {
        sent: count,
        received,
        mean_rtt: rtts.iter().sum::<Duration>().checked_div(received),
        sender: Sender::Socket,
    })
}

/// `ICMP_ECHOREPLY` of `linux/icmp.h`, `ICMPV6_ECHO_REPLY` of `linux/icmpv6.h`.
fn is_echo_reply(answer: &IcmpPacket) -> bool {
    match answer {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == 0,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == 129,
    }
}

fn no_socket(cause: io::Error) -> Error {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        // The library's own text for this is a page long.
        let what = "an ICMP socket needs a group in net.ipv4.ping_group_range, or CAP_NET_RAW";
        return Error::new(ErrorKind::Permission, what);
    }
    Error::io("open an ICMP socket", cause)
}

/// Tells the replies to one call from those to another on a raw socket.
fn identifier() -> PingIdentifier {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = process::id() as u16;
    PingIdentifier(process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The kernel knows of no way there: the probe is as lost as one on the wire.
fn is_unreachable(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::ConnectionRefused
    )
}

fn interface_index(name: &str) -> Result<u32> {
    if let Ok(index) = name.parse() {
        return Ok(index);
    }
    #[cfg(unix)]
    let index = nix::net::if_::if_nametoindex(name).map_err(io::Error::from);
    #[cfg(not(unix))]
    let index = Err(io::Error::from(io::ErrorKind::NotFound));
    index.map_err(|cause| {
        Error::new(ErrorKind::Missing, format!("no interface {name}")).because(cause)
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use surge_ping::Icmpv6Packet;

    use super::*;

    fn answer(bytes: &[u8]) -> IcmpPacket {
        IcmpPacket::V6(Icmpv6Packet::decode(bytes, Ipv6Addr::LOCALHOST).unwrap())
    }

    #[test]
    fn only_an_echo_reply_is_a_reply() {
        // Type, code, checksum; identifier 7, sequence 1.
        let reply = [129, 0, 0, 0, 0, 7, 0, 1];
        assert!(is_echo_reply(&answer(&reply)));
        // Address unreachable, about an echo request in an IPv6 packet.
        let mut unreachable = vec![1, 3, 0, 0, 0, 0, 0, 0];
        unreachable.extend([0x60, 0, 0, 0, 0, 8, 58, 64]);
        unreachable.extend([0; 32]);
        unreachable.extend([128, 0, 0, 0, 0, 7, 0, 1]);
        assert!(!is_echo_reply(&answer(&unreachable)));
    }

    #[test]
    fn every_call_has_its_own_identifier() {
        assert_ne!(identifier().into_u16(), identifier().into_u16());
    }
}
