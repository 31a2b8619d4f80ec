//! What this host offers a collector.

use serde::Serialize;

use super::{Backend, Collector};
use crate::{backend::ebpf, error::chain};

/// What this host offers, found by trying: programs are loaded, attached and
/// detached again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Host {
    /// What was looked at, in the order in which one needs the other.
    pub checks: Vec<Check>,
    /// Every backend, best first.
    pub backends: Vec<Check>,
    /// The backend that [`Backend::Auto`] would run; `None` when none can.
    pub chosen: Option<&'static str>,
}

/// One thing that a host has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, or the reason why not and the way out.
    pub detail: String,
}

impl Check {
    pub(crate) fn new(name: impl Into<String>, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        Self {
            name: name.into(),
            ok,
            detail: found.unwrap_or_else(|why| why),
        }
    }
}

impl Host {
    /// Looks at this host. Takes about as long as starting each backend once.
    #[must_use]
    pub fn probe() -> Self {
        let mut backends = Vec::new();
        for (name, backend) in Backend::ALL {
            let found = Collector::builder().backend(*backend).start();
            let found = match found {
                Ok(collector) => Ok(match collector.status().hook {
                    Some(hook) => format!("runs, hook {hook}"),
                    None => "runs".to_owned(),
                }),
                Err(error) => Err(chain(&error)),
            };
            backends.push((*name, Check::new(*name, found)));
        }
        Self {
            checks: ebpf::checks(),
            chosen: backends
                .iter()
                .find(|(_, check)| check.ok)
                .map(|(name, _)| *name),
            backends: backends.into_iter().map(|(_, check)| check).collect(),
        }
    }
}
