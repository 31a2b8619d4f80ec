//! The netlink sockets: one that asks for all sockets, one that hears of closed ones.
//!
//! Both stay in the network namespace they were made in, whichever thread uses them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use netlink_packet_core::{
    ErrorBuffer, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId as DiagId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};

use super::message::DiagSocket;
use crate::{Error, ErrorKind, Result, reading::Protocol};

/// The kernel fills at most 32 KiB at a time.
const BUFFER: usize = 64 << 10;
/// Room for the ends of about 16,000 connections between two readings.
const EVENT_BUFFER: usize = 16 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `TCPDIAG_GETSOCK`: the request for TCP of before `SOCK_DIAG_BY_FAMILY`, and its answers.
const TCP_OF_ALL_FAMILIES: u16 = 18;
/// `SKNLGRP_INET_TCP_DESTROY`, `…INET_UDP…`, `…INET6_TCP…`, `…INET6_UDP…`.
const DESTROY_GROUPS: [u32; 4] = [1, 2, 3, 4];

/// Sockets, and how many descriptions of sockets could not be read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) sockets: Vec<DiagSocket>,
    pub(crate) unreadable: u64,
}

impl Batch {
    /// Adds a socket, or one that could not be read.
    pub(crate) fn take(&mut self, socket: Option<DiagSocket>) {
        match socket {
            Some(socket) => self.sockets.push(socket),
            None => self.unreadable += 1,
        }
    }
}

/// Lists all sockets of one network namespace.
#[derive(Debug)]
pub(crate) struct Lister {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    udp_refused: Option<Error>,
}

impl AsFd for Lister {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Lister {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self> {
        let what = "open a netlink socket for socket diagnostics";
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(|cause| {
            let unsupported = cause.raw_os_error() == Some(libc::EPROTONOSUPPORT);
            match unsupported {
                true => Error::new(ErrorKind::Unsupported, what).because(cause),
                false => Error::io(what, cause),
            }
        })?;
        socket.bind_auto().map_err(|cause| Error::io(what, cause))?;
        let limit = TimeVal::new(ANSWER_LIMIT.as_secs().cast_signed(), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &limit)
            .map_err(|cause| Error::io(what, cause.into()))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER),
            udp_refused: None,
        })
    }

    /// Every TCP and UDP socket, IPv4 and IPv6, one by one; `None` for one that could not
    /// be read.
    pub(crate) fn list(&mut self, mut take: impl FnMut(Option<DiagSocket>)) -> Result<()> {
        self.dump(None, IPPROTO_TCP, &mut take)?;
        for family in [AF_INET, AF_INET6] {
            match self.dump(Some(family), IPPROTO_UDP, &mut take) {
                // A module of its own, which kernels for containers often lack.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.udp_refused = Some(error);
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Why UDP sockets were in no list.
    pub(crate) const fn udp_refused(&self) -> Option<&Error> {
        self.udp_refused.as_ref()
    }

    fn dump(
        &mut self,
        family: Option<u8>,
        protocol: u8,
        mut take: impl FnMut(Option<DiagSocket>),
    ) -> Result<()> {
        let failed = |cause| {
            let what = format!("list the sockets of protocol {protocol} by socket diagnostics");
            refused(what, cause)
        };
        self.sequence = self.sequence.wrapping_add(1);
        let request = match family {
            Some(family) => request(family, protocol, self.sequence),
            None => request_tcp(self.sequence),
        };
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(&request, &kernel, 0).map_err(failed)?;
        let protocol = Protocol::from_number(protocol.into());
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    return Err(failed(io::ErrorKind::TimedOut.into()));
                }
                Err(cause) => return Err(failed(cause)),
            }
            match read_messages(&self.buffer, Some(self.sequence), Some(protocol), &mut take) {
                End::More => {}
                End::Done => return Ok(()),
                End::Refused(cause) => return Err(failed(cause)),
            }
        }
    }
}

/// Hears of every TCP and UDP socket of one network namespace that closes.
#[derive(Debug)]
pub(crate) struct Closings {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Closings {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self> {
        let what = "listen for closed sockets by socket diagnostics";
        let failed = |cause| Error::io(what, cause);
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        // Without CAP_NET_ADMIN the system's limit (net.core.rmem_max) holds.
        if setsockopt(&socket, sockopt::RcvBufForce, &EVENT_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &EVENT_BUFFER)
                .map_err(|cause| failed(cause.into()))?;
        }
        for group in DESTROY_GROUPS {
            socket
                .add_membership(group)
                .map_err(|cause| refused(what.into(), cause))?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Takes what has been heard. `true` when the kernel had to drop some.
    pub(crate) fn drain(&mut self, batch: &mut Batch) -> Result<bool> {
        let mut dropped = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    read_messages(&self.buffer, None, None, |socket| batch.take(socket));
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(dropped),
                Err(cause) if cause.raw_os_error() == Some(libc::ENOBUFS) => dropped = true,
                Err(cause) => return Err(Error::io("hear of closed sockets", cause)),
            }
        }
    }

    /// Waits until something was heard, no longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // A wait that fails or is interrupted is a short wait.
        let _ = poll(&mut sockets, limit);
    }
}

#[cfg(test)]
impl Closings {
    /// Leaves room for a few ends only.
    pub(crate) fn shrink(&self) {
        let _ = setsockopt(&self.socket, sockopt::RcvBuf, &2048);
    }
}

fn refused(what: String, cause: io::Error) -> Error {
    match cause.raw_os_error() {
        // What the kernel says when no module answers for the protocol.
        Some(libc::ENOENT) => Error::new(
            ErrorKind::Unsupported,
            format!("{what} (load the modules inet_diag, tcp_diag and udp_diag)"),
        )
        .because(cause),
        _ => Error::io(what, cause),
    }
}

fn request(family: u8, protocol: u8, sequence: u32) -> Vec<u8> {
    let socket_id = match family {
        AF_INET6 => DiagId::new_v6(),
        _ => DiagId::new_v4(),
    };
    let request = InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let payload: NetlinkPayload<SockDiagMessage> = SockDiagMessage::InetRequest(request).into();
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A request for TCP sockets of both families (`struct inet_diag_req`): the kernel walks its
/// table of all connections once for it. It knows no such request for UDP.
fn request_tcp(sequence: u32) -> Vec<u8> {
    const LENGTH: u32 = 16 + 60;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(TCP_OF_ALL_FAMILIES.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes()); // from any port
    bytes.extend([0, 0, 0, ExtensionFlags::INFO.bits()]);
    bytes.extend([0; 48]); // any addresses
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(0u32.to_ne_bytes());
    bytes
}

/// How a datagram ends an answer.
#[derive(Debug)]
pub(crate) enum End {
    More,
    Done,
    Refused(io::Error),
}

/// Reads the messages of one datagram.
pub(crate) fn read_messages(
    mut bytes: &[u8],
    sequence: Option<u32>,
    protocol: Option<Protocol>,
    mut take: impl FnMut(Option<DiagSocket>),
) -> End {
    while !bytes.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(bytes) else {
            take(None);
            return End::More;
        };
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        // Left over from an answer that was given up.
        let ours = sequence.is_none_or(|sequence| sequence == message.sequence_number());
        if ours {
            match message.message_type() {
                SOCK_DIAG_BY_FAMILY | TCP_OF_ALL_FAMILIES => {
                    take(DiagSocket::parse(message.payload(), protocol));
                }
                NLMSG_ERROR | NLMSG_DONE => {
                    let code = ErrorBuffer::new_checked(message.payload())
                        .ok()
                        .and_then(|buffer| buffer.code());
                    return match code {
                        Some(code) => {
                            End::Refused(io::Error::from_raw_os_error(code.get().saturating_neg()))
                        }
                        None => End::Done,
                    };
                }
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    End::More
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 16).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn an_error_ends_the_answer_with_its_code() {
        let bytes = message(NLMSG_ERROR, 1, &(-2i32).to_ne_bytes());
        let end = read_messages(&bytes, Some(1), None, |_| {});
        let End::Refused(cause) = end else {
            panic!("{end:?}");
        };
        assert_eq!(cause.raw_os_error(), Some(libc::ENOENT));
        let error = refused("list".into(), cause);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn the_end_of_the_answer_is_told_from_one_left_over() {
        let bytes = message(NLMSG_DONE, 1, &0i32.to_ne_bytes());
        assert!(matches!(
            read_messages(&bytes, Some(1), None, |_| {}),
            End::Done
        ));
        assert!(matches!(
            read_messages(&bytes, Some(2), None, |_| {}),
            End::More
        ));
    }

    #[test]
    fn a_message_that_is_cut_costs_itself_and_is_counted() {
        let mut bytes = message(SOCK_DIAG_BY_FAMILY, 1, &[0; 10]);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(message(NLMSG_DONE, 1, &0i32.to_ne_bytes()));
        let mut batch = Batch::default();
        let end = read_messages(&bytes, Some(1), Some(Protocol::Tcp), |it| batch.take(it));
        assert!(matches!(end, End::Done));
        assert_eq!((batch.sockets.len(), batch.unreadable), (0, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..400)) {
            read_messages(&bytes, None, None, |_| {});
        }
    }
}
