//! Processes with their figures, as a reading has them.

use super::{accounts::Accounts, cgroup::CgroupPaths, decode};
use crate::reading::{Accuracy, Attribution, Process};

/// A row for every process.
pub(super) fn process_rows(
    accounts: &Accounts,
    cgroups: &mut CgroupPaths,
    counts_packets: bool,
    accuracy: Accuracy,
) -> Vec<Process> {
    let mut rows = Vec::new();
    for (key, account) in accounts.iter() {
        let id = decode::attribution(key);
        rows.push(Process {
            id,
            name: match id {
                Attribution::Process(_) => decode::name(&account.comm),
                Attribution::Kernel => "[kernel]".to_owned(),
                Attribution::Unknown | Attribution::Unattributed => "[unknown]".to_owned(),
            },
            payload: account.total.payload,
            wire: counts_packets.then_some(account.total.wire),
            sockets: account.sockets,
            cgroup_id: (account.cgroup_id != 0).then_some(account.cgroup_id),
            cgroup: cgroups.get(account.cgroup_id).map(str::to_owned),
            accuracy,
            alive: !account.exited,
        });
    }
    rows
}
