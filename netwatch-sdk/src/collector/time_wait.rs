//! How many TCP sockets wait in TIME-WAIT.

use std::collections::BTreeMap;

use crate::{
    Result,
    platform::{self, Host},
    reading::{Pid, Reading},
};

/// More processes of a namespace than can end between a reading and this.
const INHABITANTS: usize = 8;

/// The count of this namespace and of every other one with an open socket whose owner
/// is known. No privilege is needed; one small file for each namespace.
///
/// # Errors
///
/// When it cannot be read; [`Unsupported`](crate::ErrorKind::Unsupported) elsewhere
/// than on Linux.
pub(crate) fn count_time_wait(reading: &Reading) -> Result<u32> {
    platform::read_time_wait(&Host::default(), &inhabitants(reading))
}

/// Some processes of every namespace that a socket is in.
fn inhabitants(reading: &Reading) -> BTreeMap<u32, Vec<Pid>> {
    let mut inhabitants: BTreeMap<u32, Vec<Pid>> = BTreeMap::new();
    for socket in &reading.open {
        if let (Some(netns), Some(owner)) = (socket.netns, socket.owner) {
            let pids = inhabitants.entry(netns.inode).or_default();
            if pids.len() < INHABITANTS && !pids.contains(&owner.pid) {
                pids.push(owner.pid);
            }
        }
    }
    inhabitants
}
