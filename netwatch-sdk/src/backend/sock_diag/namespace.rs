//! The network namespaces of a host, one pair of netlink sockets each.
//!
//! A netlink socket belongs to the namespace it was made in, so another one is
//! entered once, on a thread made for it (`setns`, `CAP_SYS_ADMIN`), and read
//! from here afterwards.
//!
//! Every reading looks where the processes are that were not there before, and every
//! 5 seconds where all are. A netlink socket keeps its namespace alive: one that has no
//! process left is read once more and let go.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::getsockopt,
    time::{ClockId, clock_gettime},
};

use super::netlink::{Closings, Lister};
use crate::{Error, Result, backend::ledger::Since, reading::Netns};

const LOOK_AT_ALL: Duration = Duration::from_secs(5);

mod cookie {
    //! `SO_NETNS_COOKIE`, Linux 5.14.
    #![allow(unreachable_pub, missing_docs)]
    use nix::{getsockopt_impl, libc, sockopt_impl};
    sockopt_impl!(
        NetnsCookie,
        GetOnly,
        libc::SOL_SOCKET,
        libc::SO_NETNS_COOKIE,
        u64
    );
}

/// One network namespace that is read.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) netns: Netns,
    pub(crate) lister: Lister,
    /// `None`, with the reason, when closed sockets cannot be heard of.
    pub(crate) closings: Result<Closings>,
    /// It has not been read yet.
    fresh: bool,
    /// Where the bytes of its sockets begin that are in its first list.
    since: Since,
    /// When it was found, since boot; `None` when it was there at the start.
    found: Option<Duration>,
    /// No process is in it any more.
    left: bool,
}

/// Where listed sockets are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) netns: Netns,
    /// Where the bytes of sockets begin that are in no earlier list.
    pub(crate) since: Since,
    /// When the namespace was found, since boot; `None` when it was there at the start. What
    /// older processes moved on sockets that had closed by then is not known.
    pub(crate) found: Option<Duration>,
}

impl Namespace {
    /// Where the sockets of the next list are.
    pub(crate) const fn place(&mut self) -> Place {
        let since = match std::mem::replace(&mut self.fresh, false) {
            true => self.since,
            false => Since::Birth,
        };
        Place {
            netns: self.netns,
            since,
            found: self.found,
        }
    }

    /// The namespace of the calling thread.
    pub(crate) fn current() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let inode = fs::metadata(path)
            .map_err(|cause| Error::io(path, cause))?
            .ino();
        Self::with_inode(inode)
    }

    fn with_inode(inode: u64) -> Result<Self> {
        let lister = Lister::open()?;
        Ok(Self {
            netns: Netns {
                cookie: getsockopt(&lister, cookie::NetnsCookie).ok(),
                inode: u32::try_from(inode).unwrap_or_default(),
            },
            lister,
            closings: Closings::open(),
            fresh: true,
            since: Since::Now,
            found: None,
            left: false,
        })
    }

    /// The namespace that `path` leads to.
    fn enter(path: &Path) -> Result<Self> {
        let failed = |cause: io::Error| Error::io(format!("enter {}", path.display()), cause);
        let file = File::open(path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let inside = thread::Builder::new()
            .name("netwatch-netns".into())
            .spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                Ok(Self::with_inode(inode))
            })
            .map_err(failed)?;
        match inside.join() {
            Ok(entered) => entered.map_err(failed)?,
            Err(_) => Err(failed(io::Error::other("the thread ended"))),
        }
    }
}

/// The namespaces that are read.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// That of the calling thread first.
    list: Vec<Namespace>,
    proc: PathBuf,
    /// Whether others are read too.
    all: bool,
    looked: Option<Instant>,
    processes: HashSet<i32>,
    /// Inodes of those that were read and left by all processes.
    let_go: HashSet<u32>,
    /// Why some namespace cannot be read.
    refused: Option<Error>,
}

impl Namespaces {
    pub(crate) fn start(proc: PathBuf, all: bool) -> Result<Self> {
        Ok(Self {
            list: vec![Namespace::current()?],
            proc,
            all,
            looked: None,
            processes: HashSet::new(),
            let_go: HashSet::new(),
            refused: None,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.list.iter()
    }

    pub(crate) const fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Namespace> {
        self.list.get_mut(index)
    }

    /// Notes why a namespace other than the first could not be read.
    pub(crate) fn refuse(&mut self, error: Error) {
        self.refused = Some(error);
    }

    /// Why other namespaces are not read, or some of them.
    pub(crate) const fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// Why UDP sockets are not listed.
    pub(crate) fn udp_refused(&self) -> Option<&Error> {
        self.iter()
            .find_map(|namespace| namespace.lister.udp_refused())
    }

    /// Enters namespaces that processes are in now, and lets go of those that were left.
    pub(crate) fn follow(&mut self) {
        if !self.all {
            return;
        }
        let now = Instant::now();
        let of_all = self
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= LOOK_AT_ALL);
        let found = match self.inhabited(of_all) {
            Ok(found) => found,
            Err(error) => return self.refuse(error),
        };
        for namespace in &self.list {
            if namespace.left && !found.contains_key(&namespace.netns.inode) {
                self.let_go.insert(namespace.netns.inode);
            }
        }
        let let_go = &self.let_go;
        self.list
            .retain(|namespace| !let_go.contains(&namespace.netns.inode));
        if of_all {
            self.refused = None;
            let others = self.list.iter_mut().skip(1);
            for namespace in others {
                namespace.left = !found.contains_key(&namespace.netns.inode);
            }
        }
        let at_start = self.looked.is_none();
        if of_all {
            self.looked = Some(now);
        }
        for (inode, path) in found {
            if self.list.iter().any(|known| known.netns.inode == inode) {
                continue;
            }
            match Namespace::enter(&path) {
                Ok(mut namespace) => {
                    if !at_start {
                        // It had no process at the start, so its sockets are younger; and
                        // those of one that was let go have been counted before.
                        if !self.let_go.remove(&inode) {
                            namespace.since = Since::Birth;
                        }
                        namespace.found = clock_gettime(ClockId::CLOCK_BOOTTIME)
                            .ok()
                            .map(Duration::from);
                    }
                    self.list.push(namespace);
                }
                // Its processes have gone since.
                Err(error) if error.kind() == crate::ErrorKind::Missing => {}
                Err(error) => self.refused = Some(error),
            }
        }
    }

    /// Where processes are, of all or of new ones: inode and a way there.
    ///
    /// Processes that may not be looked into are left out.
    fn inhabited(&mut self, of_all: bool) -> Result<HashMap<u32, PathBuf>> {
        let failed = |cause| Error::io(self.proc.display().to_string(), cause);
        let mut found = HashMap::new();
        let mut processes = HashSet::with_capacity(self.processes.len());
        for entry in fs::read_dir(&self.proc).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            processes.insert(pid);
            if self.processes.contains(&pid) && !of_all {
                continue;
            }
            let path = entry.path().join("ns/net");
            if let Ok(file) = fs::metadata(&path)
                && let Ok(inode) = u32::try_from(file.ino())
            {
                found.entry(inode).or_insert(path);
            }
        }
        self.processes = processes;
        Ok(found)
    }
}
