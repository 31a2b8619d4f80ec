//! Measures by sharing out interface totals: the last resort on Linux.
//!
//! Sockets come from `/proc/net/{tcp,tcp6,udp,udp6}`, their owners from `/proc/PID/fd`,
//! the bytes from the interfaces that have a device. No process's figure is more than a guess.

use std::{
    collections::HashMap, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path,
    time::Instant,
};

use chrono::Utc;
use procfs::{
    ProcResult,
    net::{TcpNetEntry, UdpNetEntry, tcp, tcp6, udp, udp6},
};

use super::attribute;
use crate::{
    Error, Result,
    backend::Measure,
    collector::{Packets, Status, connection_row},
    collectors::traffic::{self, InterfaceRateTracker},
    platform::owners::Owners,
    reading::{
        Accuracy, Attribution, Lost, Netns, Payload, Pid, Process, ProcessId, Protocol, Reading,
        Socket, SocketId, SocketState, Source,
    },
    wire::InterfaceMetric,
};

/// Shares out what the interfaces moved.
#[derive(Debug)]
pub(crate) struct Shares {
    owners: Owners,
    interfaces: InterfaceRateTracker,
    totals: HashMap<Attribution, (String, Payload)>,
    netns: Option<Netns>,
}

impl Shares {
    /// Starts to count what the interfaces move from now on.
    ///
    /// # Errors
    ///
    /// When `/proc` or the interfaces cannot be read.
    pub(crate) fn start() -> Result<Self> {
        let inode = fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino());
        let mut this = Self {
            owners: Owners::new("/proc"),
            interfaces: InterfaceRateTracker::new(),
            totals: HashMap::new(),
            netns: inode.ok().and_then(|inode| {
                Some(Netns {
                    cookie: None,
                    inode: u32::try_from(inode).ok()?,
                })
            }),
        };
        this.read()?;
        Ok(this)
    }

    fn list(&mut self) -> Result<Vec<Socket>> {
        let mut rows = Vec::new();
        let entries = read("tcp", tcp())?.into_iter().chain(optional(tcp6())?);
        for TcpNetEntry {
            local_address,
            remote_address,
            state,
            uid,
            inode,
            ..
        } in entries
        {
            let state = SocketState::from_number(state.to_u8());
            // A socket that nobody holds, in TIME-WAIT or not accepted yet, has no inode.
            if inode != 0 {
                rows.push(row(
                    Protocol::Tcp,
                    local_address,
                    remote_address,
                    state,
                    uid,
                    inode,
                ));
            }
        }
        let entries = read("udp", udp())?.into_iter().chain(optional(udp6())?);
        for UdpNetEntry {
            local_address,
            remote_address,
            state,
            uid,
            inode,
            ..
        } in entries
        {
            let state = SocketState::from_number(state.to_u8());
            rows.push(row(
                Protocol::Udp,
                local_address,
                remote_address,
                state,
                uid,
                inode,
            ));
        }
        let inodes = rows.iter().map(|row| row.id.0);
        self.owners.refresh(inodes, Instant::now())?;
        for row in &mut rows {
            row.netns = self.netns;
            let holders = self.owners.of(row.id.0);
            row.shared = holders.len() > 1;
            row.owner = holders.first().copied();
            row.owner_name = row
                .owner
                .and_then(|owner| self.owners.name(owner))
                .map(str::to_owned);
        }
        Ok(rows)
    }

    /// Adds each process's share of what the interfaces moved since the last reading.
    fn share(&mut self, open: &[Socket]) -> Result<()> {
        let interfaces = traffic::sample(&mut self.interfaces)?;
        let interfaces = with_driver(interfaces, Path::new("/sys/class/net"));
        let processes: HashMap<Pid, ProcessId> = open
            .iter()
            .filter_map(|socket| socket.owner)
            .map(|owner| (owner.pid, owner))
            .collect();
        let connections: Vec<_> = open
            .iter()
            .map(|socket| connection_row(socket.clone(), false, Source::ConnectionShare))
            .collect();
        for share in attribute(&connections, &interfaces, usize::MAX) {
            let process = share.pid.and_then(|pid| processes.get(&Pid(pid)));
            let id = process.map_or(Attribution::Unknown, |id| Attribution::Process(*id));
            let (name, total) = self.totals.entry(id).or_default();
            *name = share.process_name;
            total.rx_bytes += share.rx_bytes;
            total.tx_bytes += share.tx_bytes;
        }
        Ok(())
    }
}

impl Measure for Shares {
    fn read(&mut self) -> Result<Reading> {
        let open = self.list()?;
        self.share(&open)?;
        let mut sockets: HashMap<ProcessId, u32> = HashMap::new();
        for socket in &open {
            if let Some(owner) = socket.owner {
                *sockets.entry(owner).or_default() += 1;
                let id = Attribution::Process(owner);
                let (name, _) = self.totals.entry(id).or_default();
                name.clone_from(socket.owner_name.as_ref().unwrap_or(&String::new()));
            }
        }
        let processes = self.totals.iter().map(|(id, (name, payload))| {
            let held = match id {
                Attribution::Process(process) => sockets.get(process).copied(),
                _ => None,
            };
            Process {
                id: *id,
                name: name.clone(),
                payload: *payload,
                wire: None,
                sockets: held.unwrap_or(0),
                cgroup_id: None,
                cgroup: None,
                accuracy: Accuracy::Estimate,
                // Without a connection it gets no share: it is told once more, then forgotten.
                alive: held.is_some() || *id == Attribution::Unknown,
            }
        });
        let processes: Vec<Process> = processes.collect();
        for gone in processes.iter().filter(|process| !process.alive) {
            self.totals.remove(&gone.id);
        }
        Ok(Reading {
            taken_at: Instant::now(),
            timestamp: Utc::now(),
            source: Source::ConnectionShare,
            open,
            closed: Vec::new(),
            processes,
            lost: Lost::default(),
        })
    }

    fn status(&self) -> Status {
        Status {
            limits: vec![
                "no figure is measured per process: interface totals are shared out".to_owned(),
                "sockets that closed between two readings are not seen".to_owned(),
            ],
            packets: Packets::NotCounted("/proc knows no packets of one socket".to_owned()),
            ..Status::of(Source::ConnectionShare)
        }
    }
}

/// Those that have a device of their own. A bridge, a tunnel and the cable to a container
/// carry bytes that pass a device too, or none. All where none has one, as in a container.
fn with_driver(mut interfaces: Vec<InterfaceMetric>, sys: &Path) -> Vec<InterfaceMetric> {
    let has_device = |it: &InterfaceMetric| sys.join(&it.name).join("device").exists();
    if interfaces.iter().any(has_device) {
        interfaces.retain(has_device);
    }
    interfaces
}

fn read<T>(table: &str, entries: ProcResult<Vec<T>>) -> Result<Vec<T>> {
    entries.map_err(|error| {
        Error::io(
            format!("read /proc/net/{table}"),
            std::io::Error::other(error),
        )
    })
}

/// A table that is not there without IPv6.
fn optional<T>(entries: ProcResult<Vec<T>>) -> Result<Vec<T>> {
    match entries {
        Err(procfs::ProcError::NotFound(_)) => Ok(Vec::new()),
        other => read("tcp6 or udp6", other),
    }
}

fn row(
    protocol: Protocol,
    local: SocketAddr,
    remote: SocketAddr,
    state: SocketState,
    uid: u32,
    inode: u64,
) -> Socket {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    Socket {
        id: SocketId(inode),
        netns: None,
        protocol,
        local: plain(local),
        remote: (remote.port() != 0).then(|| plain(remote)),
        state,
        direction: None,
        uid: Some(uid),
        cgroup_id: None,
        owner: None,
        owner_name: None,
        shared: false,
        payload: None,
        wire: None,
        rtt: None,
        retransmits: None,
        accuracy: Accuracy::Estimate,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::backend::estimate::tests::interface;

    #[test]
    fn sockets_have_owners_and_no_bytes_and_the_label_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let reading = Shares::start().unwrap().read().unwrap();
        let local = client.local_addr().unwrap();
        let row = reading.open.iter().find(|row| row.local == local).unwrap();
        assert_eq!(row.remote, client.peer_addr().ok());
        assert_eq!(row.state, SocketState::Established);
        assert_eq!(row.owner.unwrap().pid, Pid(std::process::id()));
        assert_eq!(row.payload, None);
        let own = Attribution::Process(row.owner.unwrap());
        let process = reading.processes.iter().find(|process| process.id == own);
        assert_eq!(process.unwrap().accuracy, Accuracy::Estimate);
        assert!(process.unwrap().sockets >= 2);
    }

    #[test]
    fn what_passes_a_device_and_a_bridge_counts_once() {
        let sys = tempfile::tempdir().unwrap();
        for name in ["eth0/device", "eth1/device", "docker0", "tun0"] {
            fs::create_dir_all(sys.path().join(name)).unwrap();
        }
        let left = |names: &[&str]| {
            let interfaces = names.iter().map(|name| interface(name, 5, 6));
            let left = with_driver(interfaces.collect(), sys.path());
            left.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let all = ["lo", "docker0", "eth0", "tun0", "eth1", "veth1"];
        assert_eq!(left(&all), ["eth0", "eth1"]);
        assert_eq!(left(&["lo", "tun0"]), ["lo", "tun0"]);
    }
}
