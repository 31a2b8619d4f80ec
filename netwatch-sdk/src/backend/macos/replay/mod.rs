//! Stand-in programs that print what `nettop`, `lsof` and `ps` print, run by
//! the real runner: from the command to the reading, value by value.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::*;
use crate::{
    ErrorKind,
    reading::{
        Accuracy, Attribution, Direction, Payload, Pid, Process, ProcessId, Protocol, Socket,
        SocketState, Source,
    },
};

mod history;
mod lines;
mod recorded;
mod tools;
mod totals;
mod whole_host;

const HEADER: &str = "time,,interface,state,bytes_in,bytes_out,rx_dupe,rx_ooo,re-tx,rtt_avg,\n";
const PS: &str =
    "1 Fri Aug  1 09:00:00 2025\n7 Fri Aug  1 09:00:10 2025\n8 Fri Aug  1 09:00:20 2025\n";

/// A folder of stand-ins, and a backend that finds its programs there only.
struct Mac {
    folder: tempfile::TempDir,
    backend: Macos,
}

impl Mac {
    /// With `lsof` that sees nothing and `ps` that knows pids 1, 7 and 8.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runner = Runner::in_directories([folder.path().to_owned()])
            .with_time_limit(Duration::from_secs(2));
        let mac = Self {
            folder,
            backend: Macos::new(runner),
        };
        mac.program("nettop", "-n -x -L 1");
        mac.program("lsof", "-n -P -w -i -FpcuftdPTn");
        mac.program("ps", "-axo pid=,lstart=");
        mac.says("lsof", "");
        mac.says("ps", PS);
        mac
    }

    fn fixture(path: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        fs::read(folder.join(path)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Prints its answer when called with these arguments, and its usage, like
    /// `nettop` with status 0, when called with others.
    fn program(&self, name: &str, arguments: &str) {
        let path = self.path(name);
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = probe ] && exit\n[ \"$*\" = \"{arguments}\" ] || {{ echo usage: {name}; exit; }}\n[ \"$LC_ALL\" = C ] || exit 9\ncat \"$0.says\"\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Until no other thread's child has it open for writing any more.
        while Command::new(&path).arg("probe").status().is_err() {}
    }

    fn says(&self, name: &str, output: impl AsRef<[u8]>) {
        fs::write(self.path(&format!("{name}.says")), output).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn read(&mut self) -> Reading {
        self.backend.read().unwrap()
    }

    /// What one run of `nettop` with these rows reads as.
    fn nettop(&mut self, rows: &str) -> Reading {
        self.says("nettop", format!("{HEADER}{rows}"));
        self.read()
    }
}

fn bytes(rx_bytes: u64, tx_bytes: u64) -> Payload {
    Payload { rx_bytes, tx_bytes }
}

fn process(reading: &Reading, pid: u32) -> &Process {
    let mut all = reading
        .processes
        .iter()
        .filter(|process| matches!(process.id, Attribution::Process(id) if id.pid == Pid(pid)));
    let process = all.next().unwrap();
    assert!(all.next().is_none(), "two rows for {pid}");
    process
}

fn total(reading: &Reading, pid: u32) -> Payload {
    process(reading, pid).payload
}

fn socket<'a>(sockets: &'a [Socket], local: &str) -> &'a Socket {
    let mut all = sockets
        .iter()
        .filter(|socket| socket.local.to_string() == local);
    let socket = all.next().unwrap_or_else(|| panic!("no socket at {local}"));
    assert!(all.next().is_none(), "two sockets at {local}");
    socket
}

fn whole_host() -> Mac {
    let mac = Mac::new();
    mac.says("nettop", Mac::fixture("nettop/macos26_all_columns.txt"));
    mac.says("lsof", Mac::fixture("lsof/macos_fields_own_processes.txt"));
    mac.says("ps", Mac::fixture("ps/macos_pid_lstart_all.txt"));
    mac
}
