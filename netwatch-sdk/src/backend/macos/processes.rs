//! Which processes there are: their names, users and starts.

use std::{collections::HashMap, time::Duration};

use crate::{
    parse::{lsof::Lsof, nettop::Sample, ps::Ps},
    reading::{Attribution, Pid, ProcessId},
};

/// All processes that had a socket in some reading.
#[derive(Debug, Default)]
pub(super) struct Processes {
    starts: HashMap<u32, Duration>,
    known: HashMap<ProcessId, Known>,
}

#[derive(Debug)]
struct Known {
    name: String,
    uid: Option<u32>,
    /// Readings since it was last listed.
    idle: u32,
    ended: bool,
}

impl Processes {
    /// Without `ps`, one that no tool lists is forgotten after so many readings.
    const IDLE_AT_MOST: u32 = 60;
    const LAUNCHD: u32 = 1;

    /// Takes in what one reading says, and returns the processes that are gone
    /// since the reading before the last: those were shown to have ended.
    pub(super) fn update(
        &mut self,
        sample: Option<&Sample>,
        lsof: Option<&Lsof>,
        ps: Option<&Ps>,
    ) -> Vec<ProcessId> {
        let gone: Vec<ProcessId> = self
            .known
            .iter()
            .filter(|(_, known)| known.ended || known.idle >= Self::IDLE_AT_MOST)
            .map(|(&id, _)| id)
            .collect();
        for id in &gone {
            self.known.remove(id);
        }
        if let Some(ps) = ps {
            self.update_starts(ps);
        }
        for known in self.known.values_mut() {
            known.idle += 1;
        }
        for process in sample.into_iter().flat_map(|sample| &sample.processes) {
            self.list(process.pid, &process.name, None);
        }
        for socket in lsof.into_iter().flat_map(|lsof| &lsof.sockets) {
            let name = socket.command.as_deref().unwrap_or_default();
            self.list(socket.pid, name, socket.uid);
        }
        if let Some(ps) = ps {
            for (id, known) in &mut self.known {
                let lives = ps.processes.iter().any(|process| process.pid == id.pid.0)
                    && self.starts.get(&id.pid.0).copied() == id.started;
                known.ended = !lives && known.idle > 0;
            }
        }
        gone
    }

    /// Since the start of `launchd`, which is the first of all: the time zone that
    /// `ps` prints in is the same for both.
    fn update_starts(&mut self, ps: &Ps) {
        let boot = ps
            .processes
            .iter()
            .find(|process| process.pid == Self::LAUNCHD)
            .map(|launchd| launchd.at);
        for process in &ps.processes {
            let started = boot.and_then(|boot| (process.at - boot).to_std().ok());
            match started {
                Some(started) => self.starts.insert(process.pid, started),
                None => self.starts.remove(&process.pid),
            };
        }
        // One that ended after it was listed keeps its start until another has its pid.
        let known = &self.known;
        self.starts.retain(|&pid, _| {
            ps.processes.iter().any(|process| process.pid == pid)
                || known.keys().any(|id| id.pid.0 == pid)
        });
    }

    fn list(&mut self, pid: u32, name: &str, uid: Option<u32>) {
        let known = self.known.entry(self.id(pid)).or_insert_with(|| Known {
            name: String::new(),
            uid: None,
            idle: 0,
            ended: false,
        });
        known.idle = 0;
        known.uid = uid.or(known.uid);
        // `nettop` cuts names and `lsof` cuts them later.
        if !name.is_empty() && !known.name.starts_with(name) {
            name.clone_into(&mut known.name);
        }
    }

    pub(super) fn id(&self, pid: u32) -> ProcessId {
        ProcessId {
            pid: Pid(pid),
            started: self.starts.get(&pid).copied(),
        }
    }

    pub(super) fn attribution(&self, pid: u32) -> Attribution {
        match pid {
            0 => Attribution::Kernel,
            pid => Attribution::Process(self.id(pid)),
        }
    }

    pub(super) fn name(&self, id: ProcessId) -> Option<&str> {
        let name = self.known.get(&id)?.name.as_str();
        (!name.is_empty()).then_some(name)
    }

    /// The user it runs as; only `lsof` says so.
    pub(super) fn uid(&self, id: ProcessId) -> Option<u32> {
        self.known.get(&id)?.uid
    }

    pub(super) fn knows(&self, id: ProcessId) -> bool {
        self.known.contains_key(&id)
    }

    pub(super) fn has_ended(&self, id: ProcessId) -> bool {
        self.known.get(&id).is_some_and(|known| known.ended)
    }

    /// Every one, but for the kernel.
    pub(super) fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.known.keys().copied().filter(|id| id.pid.0 != 0)
    }
}
