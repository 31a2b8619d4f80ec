//! Names of users.

use std::collections::HashMap;

use sysinfo::Process;

/// A host with more users than this asks for their names again.
#[cfg_attr(not(unix), allow(dead_code))]
const REMEMBERED: usize = 4096;

/// The names that were looked up: on a host with a directory service each look-up is a request.
#[derive(Debug, Default)]
#[cfg_attr(not(unix), allow(dead_code))]
pub(super) struct Users(HashMap<u32, String>);

impl Users {
    /// The effective user's name, its number when it has no name.
    #[cfg(unix)]
    pub(super) fn name_of(&mut self, process: &Process) -> Option<String> {
        let uid = process.effective_user_id().or_else(|| process.user_id())?;
        let uid: u32 = **uid;
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let name = self.0.entry(uid).or_insert_with(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
            user.ok()
                .flatten()
                .map_or_else(|| uid.to_string(), |user| user.name)
        });
        Some(name.clone())
    }

    /// Not told on this system.
    #[cfg(not(unix))]
    pub(super) fn name_of(&mut self, _: &Process) -> Option<String> {
        None
    }
}
