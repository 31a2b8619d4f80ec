//! Which process, or processes, a finding is about.

use std::fmt;

use super::{event::Actor, text::clean};
use crate::reading::Pid;

/// Longest process name kept. The kernel's own are at most 15 bytes.
const NAME_BYTES: usize = 64;

/// The processes behind a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Actors {
    /// None is known.
    #[default]
    Unknown,
    /// All of it is one process's.
    One {
        /// Its pid.
        pid: Pid,
        /// Its name.
        name: String,
    },
    /// Several processes of one name, as a shell loop starts them.
    Namesakes {
        /// Their name.
        name: String,
    },
    /// Several processes.
    Several {
        /// The name of the latest.
        last: String,
    },
}

impl Actors {
    pub(crate) fn new(actor: Option<Actor<'_>>) -> Self {
        actor.map_or(Self::Unknown, |actor| Self::One {
            pid: actor.pid,
            name: clean(actor.name, NAME_BYTES),
        })
    }

    /// Adds the process of one more event.
    pub(crate) fn add(&mut self, actor: Option<Actor<'_>>) {
        let Some(actor) = actor else { return };
        match self {
            Self::One { pid, name } if *pid == actor.pid && name == actor.name => return,
            Self::Namesakes { name } | Self::Several { last: name } if name == actor.name => return,
            _ => {}
        }
        let added = clean(actor.name, NAME_BYTES);
        *self = match std::mem::take(self) {
            Self::Unknown => Self::One {
                pid: actor.pid,
                name: added,
            },
            Self::One { pid, name } if pid == actor.pid && name == added => Self::One { pid, name },
            Self::One { name, .. } | Self::Namesakes { name } if name == added => {
                Self::Namesakes { name }
            }
            _ => Self::Several { last: added },
        };
    }
}

impl fmt::Display for Actors {
    /// ` by curl (pid 7)`, with a space before it, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::One { pid, name } => write!(f, " by {name} (pid {pid})"),
            Self::Namesakes { name } => write!(f, " by {name} (several pids)"),
            Self::Several { last } => write!(f, " by several processes, the latest {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actors(of: &[(u32, &str)]) -> String {
        let mut actors = Actors::default();
        for (pid, name) in of {
            actors.add(Some(Actor {
                pid: Pid(*pid),
                name,
            }));
            actors.add(None);
        }
        actors.to_string()
    }

    #[test]
    fn a_process_is_named_only_when_all_of_it_is_its_own() {
        assert_eq!(actors(&[]), "");
        assert_eq!(actors(&[(7, "curl"), (7, "curl")]), " by curl (pid 7)");
        assert_eq!(
            actors(&[(7, "nc"), (8, "nc"), (9, "nc")]),
            " by nc (several pids)"
        );
        assert_eq!(
            actors(&[(7, "nc"), (8, "nc"), (9, "sh")]),
            " by several processes, the latest sh"
        );
    }

    #[test]
    fn a_name_cannot_break_the_line() {
        assert_eq!(actors(&[(7, "a\nb")]), " by a\\nb (pid 7)");
        assert_eq!(actors(&[(7, "a\nb"), (7, "a\nb")]), " by a\\nb (pid 7)");
    }
}
