//! One message of the socket diagnostics to one socket.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_sock_diag::inet::InetResponseHeader;

use super::tcp_info::TcpInfo;
use crate::{
    backend::tcp_counters::{Sent, TcpCounters},
    reading::{Protocol, SocketId, SocketState},
};

/// `sizeof(struct inet_diag_msg)`; attributes follow it.
const HEADER: usize = 72;
/// `INET_DIAG_INFO`
const INFO: u16 = 2;
/// `INET_DIAG_PROTOCOL`
const PROTOCOL: u16 = 10;
/// `INET_DIAG_ULP_INFO`, Linux 5.4.
const ULP: u16 = 19;
/// `INET_DIAG_CGROUP_ID`, Linux 5.9.
const CGROUP_ID: u16 = 21;

/// A socket as the kernel describes it, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiagSocket {
    pub(crate) id: SocketId,
    pub(crate) protocol: Protocol,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) state: SocketState,
    /// Zero for a socket that no process has: not accepted yet, or closed.
    pub(crate) inode: u64,
    pub(crate) uid: u32,
    pub(crate) cgroup_id: Option<u64>,
    pub(crate) receive_queue: u32,
    pub(crate) send_queue: u32,
    /// An upper layer protocol uses it: multipath TCP, TLS.
    pub(crate) has_ulp: bool,
    /// `None` but for TCP, and for what is left of a TCP socket in `TIME_WAIT`.
    pub(crate) info: Option<TcpInfo>,
}

impl DiagSocket {
    /// `None` when the message is not a whole description of a socket.
    /// `protocol` is the one that was asked for, or `None` for a message that nobody
    /// asked for, which then says it itself.
    pub(crate) fn parse(payload: &[u8], protocol: Option<Protocol>) -> Option<Self> {
        let header = InetResponseHeader::parse(payload).ok()?;
        let mut protocol = protocol;
        let mut info = None;
        let mut cgroup_id = None;
        let mut has_ulp = false;
        for attribute in NlasIterator::new(payload.get(HEADER..)?) {
            let attribute = attribute.ok()?;
            match attribute.kind() {
                INFO => info = TcpInfo::parse(attribute.value()),
                PROTOCOL if protocol.is_none() => {
                    let number = attribute.value().first()?;
                    protocol = Some(Protocol::from_number((*number).into()));
                }
                ULP => has_ulp = true,
                CGROUP_ID => {
                    cgroup_id = attribute
                        .value()
                        .first_chunk()
                        .map(|bytes| u64::from_ne_bytes(*bytes));
                }
                _ => {}
            }
        }
        let protocol = protocol?;
        let id = &header.socket_id;
        let address = |address: IpAddr, port: u16| match address.to_canonical() {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SocketAddrV6::new(address, port, 0, id.interface_id).into()
            }
            address => SocketAddr::new(address, port),
        };
        let remote = address(id.destination_address, id.destination_port);
        // A disconnected TCP socket keeps the address and loses the port.
        let connected = match protocol {
            Protocol::Tcp => remote.port() != 0,
            _ => !(remote.ip().is_unspecified() && remote.port() == 0),
        };
        Some(Self {
            id: SocketId(cookie(id.cookie)),
            protocol,
            local: address(id.source_address, id.source_port),
            remote: connected.then_some(remote),
            state: SocketState::from_number(header.state),
            inode: header.inode.into(),
            uid: header.uid,
            cgroup_id: cgroup_id.filter(|&cgroup| cgroup != 0),
            receive_queue: header.recv_queue,
            send_queue: header.send_queue,
            has_ulp,
            info: info.filter(|_| protocol == Protocol::Tcp),
        })
    }

    /// What the kernel keeps of a TCP socket in `TIME_WAIT` (or `FIN_WAIT2`) after the
    /// socket itself has gone. It has the socket's cookie and none of its counters.
    pub(crate) const fn is_remnant(&self) -> bool {
        matches!(self.state, SocketState::TimeWait | SocketState::FinWait2)
            && matches!(self.protocol, Protocol::Tcp)
            && self.inode == 0
            && self.info.is_none()
    }

    /// Local and remote address of a connected socket.
    pub(crate) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.remote.map(|remote| (self.local, remote))
    }

    /// The counters of a TCP socket that moves data; `None` before Linux 4.1.
    pub(crate) fn counters(&self) -> Option<TcpCounters> {
        if self.state == SocketState::Listen {
            return None;
        }
        let info = self.info?;
        let sent = match (info.bytes_sent, info.bytes_retrans, info.notsent_bytes) {
            (Some(sent), Some(again), Some(waiting)) => Some(Sent {
                once: sent.saturating_sub(again),
                waiting: waiting.into(),
                all_acked: info.unacked == 0,
            }),
            _ => None,
        };
        let mut counters = TcpCounters {
            state: self.state,
            receive_queue: self.receive_queue.into(),
            bytes_received: info.bytes_received?,
            bytes_acked: info.bytes_acked?,
            send_queue: self.send_queue.into(),
            sent,
        };
        // The kernel looks at the queues first, and at the counters a moment later.
        let arrived = counters.fin_arrived();
        counters.state = info.state;
        if (arrived, counters.fin_arrived()) == (Some(false), Some(true)) {
            counters.receive_queue += 1;
        }
        Some(counters)
    }
}

/// Two words, the lower one first.
const fn cookie(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let (low, high) = (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    );
    ((high as u64) << 32) | low as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tcp_counters::Fin;

    /// An `inet_diag_msg`: 127.0.0.1:8080 with 127.0.0.1:40000, established.
    fn header() -> Vec<u8> {
        let mut bytes = vec![2, 1, 0, 0];
        bytes.extend(8080u16.to_be_bytes());
        bytes.extend(40000u16.to_be_bytes());
        for _ in 0..2 {
            bytes.extend([127, 0, 0, 1]);
            bytes.extend([0; 12]);
        }
        bytes.extend(0u32.to_ne_bytes()); // interface
        bytes.extend(77u64.to_ne_bytes()); // cookie
        bytes.extend(0u32.to_ne_bytes()); // expires
        bytes.extend(5u32.to_ne_bytes()); // receive queue
        bytes.extend(0u32.to_ne_bytes()); // send queue
        bytes.extend(1000u32.to_ne_bytes()); // uid
        bytes.extend(4242u32.to_ne_bytes()); // inode
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_fin_that_came_while_the_kernel_looked_is_no_byte() {
        const BYTES_RECEIVED: usize = 128;
        // State, and the receive queue's 5 bytes of 20 that arrived, with a FIN since.
        for (state, arrived, taken) in [(1, 20u64, 15), (8, 21, 15)] {
            let mut info = [0; 280];
            info[0] = state;
            info[BYTES_RECEIVED..][..8].copy_from_slice(&arrived.to_ne_bytes());
            let mut bytes = header();
            bytes.extend(attribute(INFO, &info));
            let socket = DiagSocket::parse(&bytes, Some(Protocol::Tcp)).unwrap();
            let counters = socket.counters().unwrap();
            let measured = counters.measure(Fin::Unknown, None);
            assert_eq!(measured.payload.rx_bytes, taken, "state {state}");
        }
    }

    #[test]
    fn a_message_becomes_a_socket_with_all_its_fields() {
        let mut bytes = header();
        bytes.extend(attribute(CGROUP_ID, &9u64.to_ne_bytes()));
        bytes.extend(attribute(999, &[1, 2, 3]));
        bytes.extend(attribute(ULP, &attribute(1, b"tls\0")));
        bytes.extend(attribute(INFO, &[0; 280]));
        let socket = DiagSocket::parse(&bytes, Some(Protocol::Tcp)).unwrap();
        assert_eq!(socket.id, SocketId(77));
        assert_eq!(socket.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(socket.remote, Some("127.0.0.1:40000".parse().unwrap()));
        assert_eq!(socket.state, SocketState::Established);
        assert_eq!((socket.uid, socket.inode), (1000, 4242));
        assert_eq!(socket.cgroup_id, Some(9));
        assert!(socket.has_ulp);
        assert_eq!(socket.counters().unwrap().receive_queue, 5);
    }

    #[test]
    fn an_address_mapped_from_ipv4_is_shown_as_ipv4() {
        let mut bytes = header();
        bytes[0] = 10;
        bytes[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]);
        let socket = DiagSocket::parse(&bytes, Some(Protocol::Tcp)).unwrap();
        assert_eq!(socket.local, "10.0.0.1:8080".parse().unwrap());
    }

    #[test]
    fn a_socket_without_counters_has_none() {
        let socket = DiagSocket::parse(&header(), Some(Protocol::Tcp)).unwrap();
        assert_eq!(socket.counters(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..400)) {
            let _ = DiagSocket::parse(&bytes, None);
        }

        #[test]
        fn no_attributes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
            let mut message = header();
            message.extend(bytes);
            let _ = DiagSocket::parse(&message, Some(Protocol::Tcp));
        }
    }
}
