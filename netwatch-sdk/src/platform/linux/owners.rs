//! Which processes hold which sockets, from `/proc/PID/fd`.
//!
//! A socket's inode number in `socket:[N]` is what `sock_diag` and `ss -e` print
//! as `ino`. Needs to be root or to have `CAP_SYS_PTRACE` for the processes of
//! other users; those that could not be looked into are counted.
//!
//! Cost: four system calls a descriptor, when a socket appears that was not
//! there before, or when a process that held one has gone. Otherwise one small
//! file a process that holds sockets.

use std::{collections::HashMap, fs, io, path::PathBuf, time::Duration};

use procfs::{
    ProcError,
    process::{FDTarget, Process, all_processes_with_root},
};

use crate::{
    Error, ErrorKind, Result,
    backend::id_hash::{IdMap, IdSet},
    reading::{Pid, ProcessId},
};

/// The inode number of `/proc/PID/ns/pid` in the namespace that sees all processes
/// (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The holders of sockets, kept between readings.
#[derive(Debug)]
pub(crate) struct Owners {
    root: PathBuf,
    ticks_per_second: u64,
    holders: IdMap<u64, Vec<ProcessId>>,
    names: HashMap<ProcessId, String>,
    /// Looked for and not found.
    unheld: IdSet<u64>,
    unreadable: u64,
    sees_all: bool,
}

impl Owners {
    /// Reads below `root`: `/proc`, or a folder that looks like it.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ticks_per_second: super::clock::ticks_per_second(),
            holders: IdMap::default(),
            names: HashMap::new(),
            unheld: IdSet::default(),
            unreadable: 0,
            sees_all: false,
        }
    }

    /// Brings the holders of these sockets up to date.
    ///
    /// # Errors
    ///
    /// When the list of processes cannot be read.
    pub(crate) fn refresh(&mut self, inodes: impl IntoIterator<Item = u64>) -> Result<()> {
        let inodes: Vec<u64> = inodes.into_iter().filter(|&inode| inode != 0).collect();
        if self.unheld.len() > inodes.len() {
            let there: IdSet<u64> = inodes.iter().copied().collect();
            self.unheld.retain(|inode| there.contains(inode));
        }
        let appeared = inodes
            .iter()
            .any(|inode| !self.holders.contains_key(inode) && !self.unheld.contains(inode));
        if appeared || !self.all_alive() {
            self.scan()?;
            self.unheld = inodes
                .into_iter()
                .filter(|inode| !self.holders.contains_key(inode))
                .collect();
        }
        Ok(())
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
        let number = i32::try_from(pid.0).ok()?;
        let process = Process::new_with_root(self.root.join(number.to_string())).ok()?;
        self.identity(&process)
    }

    fn scan(&mut self) -> Result<()> {
        let processes = all_processes_with_root(&self.root).map_err(|error| self.failed(error))?;
        self.holders.clear();
        self.names.clear();
        self.unreadable = 0;
        for process in processes {
            match process {
                Ok(process) => self.add(&process),
                Err(ProcError::PermissionDenied(_)) => self.unreadable += 1,
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

    fn add(&mut self, process: &Process) {
        let descriptors = match process.fd() {
            Ok(descriptors) => descriptors,
            Err(ProcError::PermissionDenied(_)) => {
                self.unreadable += 1;
                return;
            }
            Err(_) => return,
        };
        let mut inodes: Vec<u64> = Vec::new();
        let mut refused = false;
        for descriptor in descriptors {
            match descriptor {
                Ok(descriptor) => {
                    if let FDTarget::Socket(inode) = descriptor.target {
                        inodes.push(inode);
                    }
                }
                Err(ProcError::PermissionDenied(_)) => refused = true,
                // Closed since the list was read.
                Err(_) => {}
            }
        }
        self.unreadable += u64::from(refused);
        if inodes.is_empty() {
            return;
        }
        let Some((id, name)) = self.identity(process) else {
            return;
        };
        inodes.sort_unstable();
        inodes.dedup();
        for inode in inodes {
            self.holders.entry(inode).or_default().push(id);
        }
        self.names.insert(id, name);
    }

    fn identity(&self, process: &Process) -> Option<(ProcessId, String)> {
        let stat = process.stat().ok()?;
        let ticks = u128::from(stat.starttime) * 1_000_000_000;
        let nanos = ticks / u128::from(self.ticks_per_second.max(1));
        let id = ProcessId {
            pid: Pid(u32::try_from(stat.pid).ok()?),
            started: u64::try_from(nanos).ok().map(Duration::from_nanos),
        };
        Some((id, stat.comm))
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

    fn failed(&self, error: ProcError) -> Error {
        let what = format!("list the processes in {}", self.root.display());
        match error {
            ProcError::PermissionDenied(_) => {
                Error::io(what, io::ErrorKind::PermissionDenied.into())
            }
            ProcError::NotFound(_) => Error::io(what, io::ErrorKind::NotFound.into()),
            other => Error::new(ErrorKind::Io, what).because(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd, process};

    use super::*;

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
        owners.refresh([inode]).unwrap();
        let [holder] = owners.of(inode) else {
            panic!("{:?}", owners.of(inode));
        };
        assert_eq!(holder.pid, Pid(process::id()));
        assert!(holder.started.is_some());
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(owners.name(*holder), Some(name.trim_end()));
    }

    #[test]
    fn a_socket_that_appears_later_is_found() {
        let mut owners = Owners::new("/proc");
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        owners.refresh([inode(&first)]).unwrap();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        owners.refresh([inode(&first), inode(&second)]).unwrap();
        assert_eq!(owners.of(inode(&second)).len(), 1);
    }

    #[test]
    fn a_socket_that_nobody_holds_has_no_holders() {
        let mut owners = Owners::new("/proc");
        owners.refresh([u64::MAX]).unwrap();
        assert_eq!(owners.of(u64::MAX), []);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_error_and_not_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        let mut owners = Owners::new(folder.path().join("none"));
        let error = owners.refresh([1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
    }
}
