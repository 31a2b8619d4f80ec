//! Which processes hold which sockets, from `/proc/PID/fd`.
//!
//! A socket's inode number in `socket:[N]` is what `sock_diag` and `ss -e` print
//! as `ino`. Needs to be root or to have `CAP_SYS_PTRACE` for the processes of
//! other users; those that could not be looked into are counted.
//!
//! Cost: one system call a descriptor of any process, when a socket appears that was not
//! there before, when a process that held one has gone, and every 5 seconds: a socket can
//! go from one process to another without a trace. Otherwise one small file a process that
//! holds sockets.

use std::{
    ffi::CString,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, readlinkat},
    sys::stat::Mode,
};
use procfs::{FromRead as _, process::Stat};

use crate::{
    Error, Result,
    backend::id_hash::{IdMap, IdSet},
    reading::{Pid, ProcessId},
};

/// The inode number of `/proc/PID/ns/pid` in the namespace that sees all processes
/// (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How old what is known of holders may be.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The holders of sockets, kept between readings.
#[derive(Debug)]
pub(crate) struct Owners {
    root: PathBuf,
    ticks_per_second: u64,
    holders: IdMap<u64, Vec<ProcessId>>,
    names: IdMap<ProcessId, String>,
    /// Looked for and not found.
    unheld: IdSet<u64>,
    unreadable: u64,
    sees_all: bool,
    looked: Option<Instant>,
}

impl Owners {
    /// Reads below `root`: `/proc`, or a folder that looks like it.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ticks_per_second: super::clock::ticks_per_second(),
            holders: IdMap::default(),
            names: IdMap::default(),
            unheld: IdSet::default(),
            unreadable: 0,
            sees_all: false,
            looked: None,
        }
    }

    /// Brings the holders of these sockets up to date.
    ///
    /// # Errors
    ///
    /// When the list of processes cannot be read.
    pub(crate) fn refresh(
        &mut self,
        inodes: impl IntoIterator<Item = u64>,
        now: Instant,
    ) -> Result<()> {
        let inodes: IdSet<u64> = inodes.into_iter().filter(|&inode| inode != 0).collect();
        let is_known = |inode| self.holders.contains_key(inode) || self.unheld.contains(inode);
        let appeared = !inodes.iter().all(is_known);
        if self.look(appeared, now, || inodes.clone())? {
            let unheld = inodes.into_iter();
            let unheld = unheld.filter(|inode| !self.holders.contains_key(inode));
            self.unheld = unheld.collect();
        }
        Ok(())
    }

    /// Looks for the holders of `sockets` anew when some have `appeared`, when a process that
    /// held one has gone, or when the last look is old; `true` when it did.
    ///
    /// # Errors
    ///
    /// When the list of processes cannot be read.
    pub(crate) fn look(
        &mut self,
        appeared: bool,
        now: Instant,
        sockets: impl FnOnce() -> IdSet<u64>,
    ) -> Result<bool> {
        let is_old = |looked| now.saturating_duration_since(looked) >= LOOK_AGAIN;
        let anew = appeared || self.looked.is_none_or(is_old) || !self.all_alive();
        if anew {
            self.scan(&sockets())?;
            self.looked = Some(now);
        }
        Ok(anew)
    }

    /// The processes that hold a socket, the oldest first.
    pub(crate) fn of(&self, inode: u64) -> &[ProcessId] {
        self.holders.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The name of a process that holds a socket.
    pub(crate) fn name(&self, process: ProcessId) -> Option<&str> {
        self.names.get(&process).map(String::as_str)
    }

    /// Processes that could not be looked into for lack of permission.
    pub(crate) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// `true` when every process of the host was looked into, so that a socket
    /// without a holder belongs to no process's descriptors.
    pub(crate) const fn sees_all(&self) -> bool {
        self.sees_all
    }

    /// The process that has this pid now, with its name.
    pub(crate) fn identify(&self, pid: Pid) -> Option<(ProcessId, String)> {
        let stat = fs::File::open(self.root.join(format!("{pid}/stat"))).ok()?;
        let stat = Stat::from_read(stat).ok()?;
        let ticks = u128::from(stat.starttime) * 1_000_000_000;
        let nanos = ticks / u128::from(self.ticks_per_second.max(1));
        let id = ProcessId {
            pid: Pid(u32::try_from(stat.pid).ok()?),
            started: u64::try_from(nanos).ok().map(Duration::from_nanos),
        };
        Some((id, stat.comm))
    }

    fn scan(&mut self, wanted: &IdSet<u64>) -> Result<()> {
        let failed = |cause| {
            let what = format!("list the processes in {}", self.root.display());
            Error::io(what, cause)
        };
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse().ok()).map(Pid));
        }
        self.holders.clear();
        self.names.clear();
        self.unreadable = 0;
        for pid in pids {
            match self.sockets(pid) {
                Ok((mut inodes, refused)) => {
                    inodes.retain(|inode| wanted.contains(inode));
                    self.unreadable += u64::from(refused);
                    self.add(pid, inodes);
                }
                Err(Errno::EACCES | Errno::EPERM) => self.unreadable += 1,
                // Gone since the list was read.
                Err(_) => {}
            }
        }
        for holders in self.holders.values_mut() {
            holders.sort_unstable_by_key(|holder| (holder.started, holder.pid));
        }
        let namespace = fs::read_link(self.root.join("self/ns/pid"));
        self.sees_all = self.unreadable == 0
            && namespace.is_ok_and(|it| it.as_os_str() == INITIAL_PID_NAMESPACE);
        Ok(())
    }

    /// The inodes of the sockets that a process has open, and whether some may not be seen.
    fn sockets(&self, pid: Pid) -> nix::Result<(Vec<u64>, bool)> {
        let folder = self.root.join(format!("{pid}/fd"));
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = Dir::open(&folder, flags, Mode::empty())?;
        let entries = folder.iter().map(|entry| Ok(entry?.file_name().to_owned()));
        let descriptors: Vec<CString> = entries.collect::<nix::Result<_>>()?;
        let (mut inodes, mut refused) = (Vec::new(), false);
        for descriptor in descriptors {
            match readlinkat(&folder, descriptor.as_c_str()) {
                Ok(target) => inodes.extend(socket_inode(target.as_bytes())),
                Err(Errno::EACCES | Errno::EPERM) => refused = true,
                // Closed since the list was read, or `..`.
                Err(_) => {}
            }
        }
        inodes.sort_unstable();
        inodes.dedup();
        Ok((inodes, refused))
    }

    fn add(&mut self, pid: Pid, inodes: Vec<u64>) {
        if inodes.is_empty() {
            return;
        }
        let Some((id, name)) = self.identify(pid) else {
            return;
        };
        for inode in inodes {
            self.holders.entry(inode).or_default().push(id);
        }
        self.names.insert(id, name);
    }

    /// Whether every known holder still runs; brings names up to date.
    fn all_alive(&mut self) -> bool {
        let known: Vec<ProcessId> = self.names.keys().copied().collect();
        for id in known {
            match self.identify(id.pid) {
                Some((now, name)) if now == id => {
                    self.names.insert(id, name);
                }
                _ => return false,
            }
        }
        true
    }
}

/// N of `socket:[N]`.
fn socket_inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{fd::AsRawFd, unix::fs::symlink},
        path::Path,
        process,
    };

    use super::*;
    use crate::ErrorKind;

    fn inode(socket: &impl AsRawFd) -> u64 {
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let link = fs::read_link(path).unwrap();
        let link = link.to_str().unwrap();
        link["socket:[".len()..link.len() - 1].parse().unwrap()
    }

    #[test]
    fn a_socket_of_this_process_is_found_with_its_start_and_name() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode(&socket);
        let mut owners = Owners::new("/proc");
        owners.refresh([inode], Instant::now()).unwrap();
        let [holder] = owners.of(inode) else {
            panic!("{:?}", owners.of(inode));
        };
        assert_eq!(holder.pid, Pid(process::id()));
        assert!(holder.started.is_some());
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(owners.name(*holder), Some(name.trim_end()));
    }

    /// A process called `a (b) c` with these files open.
    fn add_process(root: &Path, pid: u32, targets: &[&str]) {
        let folder = root.join(format!("{pid}/fd"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (number, target) in targets.iter().enumerate() {
            symlink(target, folder.join(number.to_string())).unwrap();
        }
        let rest = "0 ".repeat(30);
        let stat = format!("{pid} (a (b) c) S 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 700 {rest}");
        fs::write(root.join(format!("{pid}/stat")), stat).unwrap();
    }

    #[test]
    fn a_socket_that_was_passed_on_is_found_at_its_new_holder_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        add_process(root.path(), 6, &[]);
        add_process(root.path(), 7, &["socket:[9]"]);
        let mut owners = Owners::new(root.path());
        let began = Instant::now();
        owners.refresh([9], began).unwrap();
        add_process(root.path(), 6, &["socket:[9]"]);
        add_process(root.path(), 7, &[]);
        for (seconds, pid) in [(0, 7), (4, 7), (5, 6)] {
            let now = began + Duration::from_secs(seconds);
            owners.refresh([9], now).unwrap();
            assert_eq!(owners.of(9)[0].pid, Pid(pid), "{seconds}");
        }
    }

    #[test]
    fn sockets_are_told_from_what_else_a_process_has_open() {
        let root = tempfile::tempdir().unwrap();
        let add = |pid, targets: &[&str]| add_process(root.path(), pid, targets);
        add(
            7,
            &[
                "pipe:[5]",
                "/dev/null",
                "socket:[8]",
                "socket:[9]",
                "socket:[9]",
            ],
        );
        add(6, &["socket:[9]", "socket:[]", "anon_inode:[eventpoll]"]);
        add(5, &["/tmp/socket:[9]"]);
        fs::create_dir(root.path().join("sys")).unwrap();
        let mut owners = Owners::new(root.path());
        owners.refresh([8, 9, 5], Instant::now()).unwrap();
        let pids = |inode| {
            owners
                .of(inode)
                .iter()
                .map(|it| it.pid.0)
                .collect::<Vec<_>>()
        };
        assert_eq!((pids(8), pids(9), pids(5)), (vec![7], vec![6, 7], vec![]));
        let holder = owners.of(8)[0];
        assert_eq!(owners.name(holder), Some("a (b) c"));
        let started = Duration::from_secs(700) / u32::try_from(owners.ticks_per_second).unwrap();
        assert_eq!(holder.started, Some(started));
    }

    #[test]
    fn a_socket_that_appears_later_is_found() {
        let mut owners = Owners::new("/proc");
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        owners.refresh([inode(&first)], Instant::now()).unwrap();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        owners
            .refresh([inode(&first), inode(&second)], Instant::now())
            .unwrap();
        assert_eq!(owners.of(inode(&second)).len(), 1);
    }

    #[test]
    fn a_socket_that_nobody_holds_has_no_holders() {
        let mut owners = Owners::new("/proc");
        owners.refresh([u64::MAX], Instant::now()).unwrap();
        assert_eq!(owners.of(u64::MAX), []);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_error_and_not_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        let mut owners = Owners::new(folder.path().join("none"));
        let error = owners.refresh([1], Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
    }
}
