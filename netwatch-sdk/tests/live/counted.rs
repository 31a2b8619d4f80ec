//! A socket that counts what its calls returned.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt,
        },
        time::{TimeVal, TimeValLike},
    },
};

use crate::{
    options,
    shape::Family,
    truth::{Claim, Moved, Way},
};

/// No call of a traffic process waits longer than this.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(20);

/// A socket that counts what its calls returned.
#[derive(Debug)]
pub(crate) struct Counted {
    fd: OwnedFd,
    claim: Claim,
    way: Way,
    tx: AtomicU64,
    rx: AtomicU64,
    /// Local and remote address while the kernel still knew them.
    addresses: OnceLock<(SocketAddr, Option<SocketAddr>)>,
    addressed: bool,
}

impl Counted {
    pub(crate) fn tcp(family: Family) -> Result<Self> {
        Self::made(family, SockType::Stream, 0)
    }

    pub(crate) fn udp(family: Family) -> Result<Self> {
        Self::made(family, SockType::Datagram, 0)
    }

    /// A new socket, owned by this process.
    pub(crate) fn made(family: Family, kind: SockType, protocol: i32) -> Result<Self> {
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 | Family::Mapped => AddressFamily::Inet6,
        };
        let kind = match kind {
            SockType::Datagram => libc::SOCK_DGRAM,
            _ => libc::SOCK_STREAM,
        };
        // SAFETY: plain numbers; the result is checked.
        let fd = Errno::result(unsafe {
            libc::socket(domain as i32, kind | libc::SOCK_CLOEXEC, protocol)
        })?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Self::limited(fd, Claim::Owner, Way::Untold)
    }

    /// A socket that another process owns.
    pub(crate) fn lent(fd: OwnedFd) -> Result<Self> {
        Self::limited(fd, Claim::Guest, Way::Untold)
    }

    fn limited(fd: OwnedFd, claim: Claim, way: Way) -> Result<Self> {
        let limit = TimeVal::seconds(CALL_LIMIT.as_secs().cast_signed());
        setsockopt(&fd, sockopt::ReceiveTimeout, &limit)?;
        setsockopt(&fd, sockopt::SendTimeout, &limit)?;
        Ok(Self {
            fd,
            claim,
            way,
            tx: AtomicU64::new(0),
            rx: AtomicU64::new(0),
            addresses: OnceLock::new(),
            addressed: true,
        })
    }

    /// The same descriptor in a process that has it too, with its own count.
    pub(crate) fn shared(&self) -> Result<Self> {
        let mut other = Self::lent(self.fd.try_clone()?)?;
        other.way = self.way;
        other.addressed = self.addressed;
        if let Some(addresses) = self.addresses.get() {
            other.addresses = OnceLock::from(*addresses);
        }
        Ok(other)
    }

    /// Takes ownership as the first that moves payload on an accepted socket.
    pub(crate) fn owning(mut self) -> Self {
        self.claim = Claim::Owner;
        self
    }

    /// Says that the kernel forgets this socket's addresses.
    pub(crate) fn unaddressed(mut self) -> Self {
        self.addressed = false;
        self
    }

    /// Counts from these numbers on, which an earlier program of this process reached.
    pub(crate) fn continuing(self, tx: u64, rx: u64) -> Self {
        self.tx.store(tx, Relaxed);
        self.rx.store(rx, Relaxed);
        self
    }

    /// Counts from nothing, as a collector does that starts now.
    pub(crate) fn restarted(mut self) -> Self {
        self.claim = self.claimed();
        // Nobody can tell any more who opened a connection that is older.
        self.way = Way::Untold;
        self.tx = AtomicU64::new(0);
        self.rx = AtomicU64::new(0);
        self
    }

    fn claimed(&self) -> Claim {
        match self.claim {
            Claim::Unclaimed if self.counts() != (0, 0) => Claim::Owner,
            claim => claim,
        }
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> Result<()> {
        socket::bind(self.raw(), &SockaddrStorage::from(address))
            .with_context(|| format!("bind {address}"))
    }

    /// A listening socket on a free port; `Mapped` listens for both families.
    pub(crate) fn listening(family: Family) -> Result<Self> {
        let listener = Self::tcp(family)?;
        listener.bind_served(family)?;
        listener.listen()
    }

    /// Binds to a free port of loopback; `Mapped` to any address.
    pub(crate) fn bind_served(&self, family: Family) -> Result<()> {
        let address = match family {
            Family::Mapped => family.unspecified(),
            _ => family.loopback(),
        };
        self.bind((address, 0).into())
    }

    pub(crate) fn listen(mut self) -> Result<Self> {
        socket::listen(&self.fd, Backlog::new(1024)?)?;
        self.way = Way::Listening;
        Ok(self)
    }

    /// Accepts one connection; its owner is who first moves payload.
    pub(crate) fn accept(&self) -> Result<Self> {
        let fd = socket::accept4(self.raw(), SockFlag::SOCK_CLOEXEC).context("accept")?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let accepted = Self::limited(fd, Claim::Unclaimed, Way::Incoming)?;
        accepted.remember()?;
        Ok(accepted)
    }

    pub(crate) fn connect(&mut self, to: SocketAddr) -> Result<()> {
        self.connecting(to)
            .with_context(|| format!("connect to {to}"))?;
        self.remember()
    }

    /// Connects, and leaves the error to the caller.
    pub(crate) fn connecting(&mut self, to: SocketAddr) -> nix::Result<()> {
        if options::number(&self.fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM {
            self.way = Way::Outgoing;
        }
        socket::connect(self.raw(), &SockaddrStorage::from(to))
    }

    /// Takes `way` for a connection that was made by other calls than `connect`.
    pub(crate) fn outgoing(&mut self) -> Result<()> {
        self.way = Way::Outgoing;
        self.remember()
    }

    /// Notes the addresses now, for when the kernel has forgotten them.
    pub(crate) fn remember(&self) -> Result<()> {
        let _ = self.addresses.set((self.local()?, self.remote()));
        Ok(())
    }

    pub(crate) fn local(&self) -> Result<SocketAddr> {
        let address = socket::getsockname::<SockaddrStorage>(self.raw())?;
        plain(&address).context("socket has no IP address")
    }

    fn remote(&self) -> Option<SocketAddr> {
        let address = socket::getpeername::<SockaddrStorage>(self.raw()).ok()?;
        plain(&address)
    }

    /// Counts what a send call returned.
    pub(crate) fn sent(&self, bytes: usize) -> usize {
        self.tx.fetch_add(bytes as u64, Relaxed);
        bytes
    }

    /// Counts what a receive call returned.
    pub(crate) fn received(&self, bytes: usize) -> usize {
        self.rx.fetch_add(bytes as u64, Relaxed);
        bytes
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.tx.load(Relaxed), self.rx.load(Relaxed))
    }

    pub(crate) fn cookie(&self) -> Result<u64> {
        Ok(options::cookie(&self.fd)?)
    }

    /// What this process moved on this socket.
    pub(crate) fn moved(&self) -> Result<Moved> {
        let (local, remote) = match self.addresses.get() {
            Some(addresses) => *addresses,
            None => (self.local()?, self.remote()),
        };
        let (tx, rx) = self.counts();
        let protocol = options::number(&self.fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        Ok(Moved {
            pid: std::process::id(),
            cookie: self.cookie()?,
            protocol: u16::try_from(protocol)?,
            local: unmapped(local),
            remote: remote.map(unmapped),
            tx,
            rx,
            claim: self.claimed(),
            way: self.way,
            addressed: self.addressed,
            held: false,
        })
    }

    pub(crate) fn shutdown(&self) -> Result<()> {
        Ok(socket::shutdown(self.raw(), socket::Shutdown::Write)?)
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Counted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|a| SocketAddr::V4((*a).into()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|a| SocketAddr::V6((*a).into()))
    })
}

/// An IPv4-mapped address as the IPv4 address it is.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
