//! The kernel's own list of TCP sockets, asked for and thrown away: no reading by socket
//! diagnostics costs less.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `TCPDIAG_GETSOCK`: TCP of both families at once.
const TCP: u16 = 18;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// `1 << (INET_DIAG_INFO - 1)`: with the counters.
const COUNTERS: u8 = 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// A netlink socket.
pub(crate) struct Dump {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Dump {
    pub(crate) fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Milliseconds that the list takes, and how many sockets are in it.
    pub(crate) fn run(&mut self) -> Result<(f64, usize)> {
        let began = Instant::now();
        let mut request = Vec::with_capacity(76);
        request.extend(76u32.to_ne_bytes());
        request.extend(TCP.to_ne_bytes());
        request.extend(DUMP.to_ne_bytes());
        request.extend([0; 8]);
        request.extend([0, 0, 0, COUNTERS]);
        request.extend([0; 48]);
        // In any state.
        request.extend(u32::MAX.to_ne_bytes());
        request.extend([0; 4]);
        let fd = self.socket.as_raw_fd();
        send(fd, &request, MsgFlags::empty())?;
        let mut sockets = 0;
        loop {
            let length = recv(fd, &mut self.buffer, MsgFlags::empty())?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some(&[a, b, c, d, kind @ .., _, _]) = rest.first_chunk::<8>() {
                match u16::from_ne_bytes(kind) {
                    NLMSG_DONE => return Ok((began.elapsed().as_secs_f64() * 1e3, sockets)),
                    NLMSG_ERROR => bail!("the kernel does not list its sockets"),
                    _ => sockets += 1,
                }
                let length = usize::try_from(u32::from_ne_bytes([a, b, c, d]))?;
                let next = rest.get(length.next_multiple_of(4).max(16)..);
                rest = next.context("a message is cut")?;
            }
        }
    }
}
