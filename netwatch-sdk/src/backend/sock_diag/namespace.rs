//! The network namespaces of a host, one pair of netlink sockets each.
//!
//! A netlink socket belongs to the namespace it was made in, so another one is
//! entered once, on a thread made for it (`setns`, `CAP_SYS_ADMIN`), and read
//! from here afterwards. A socket keeps its namespace alive; one that has no
//! process left is let go at the next look, 5 seconds later at most.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::getsockopt,
};

use super::netlink::{Closings, Lister};
use crate::{Error, Result, reading::Netns};

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
    /// It has not been read yet: its sockets may be older than the start.
    pub(crate) fresh: bool,
}

impl Namespace {
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

/// The namespaces that processes are in: inode and a way there.
///
/// Processes that may not be looked into are left out.
pub(crate) fn inhabited(proc: &Path) -> Result<HashMap<u32, PathBuf>> {
    let failed = |cause| Error::io(proc.display().to_string(), cause);
    let mut found = HashMap::new();
    for entry in fs::read_dir(proc).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .iter()
            .all(u8::is_ascii_digit)
        {
            continue;
        }
        let path = entry.path().join("ns/net");
        if let Ok(file) = fs::metadata(&path)
            && let Ok(inode) = u32::try_from(file.ino())
        {
            found.entry(inode).or_insert(path);
        }
    }
    Ok(found)
}

/// Lets go of namespaces without processes and enters new ones. The first stays.
///
/// The error is why a namespace could not be entered.
pub(crate) fn follow(namespaces: &mut Vec<Namespace>, proc: &Path) -> Result<()> {
    let inhabited = inhabited(proc)?;
    let own = namespaces.first().map(|namespace| namespace.netns.inode);
    namespaces.retain(|namespace| {
        Some(namespace.netns.inode) == own || inhabited.contains_key(&namespace.netns.inode)
    });
    let mut refused = Ok(());
    for (inode, path) in inhabited {
        if namespaces.iter().any(|known| known.netns.inode == inode) {
            continue;
        }
        match Namespace::enter(&path) {
            Ok(namespace) => namespaces.push(namespace),
            // Its processes have gone since.
            Err(error) if error.kind() == crate::ErrorKind::Missing => {}
            Err(error) => refused = Err(error),
        }
    }
    refused
}
