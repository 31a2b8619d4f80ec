//! The choice of a backend: the best that starts, and the next when it fails.

use super::{Backend, Builder, Hook, Refusal, Status};
use crate::{
    Error, ErrorKind, Result,
    backend::{Measure, ebpf, map_sizes::MapSizes, userspace},
    error::chain,
};

/// The backends that have not been tried yet, and why the others do not run.
#[derive(Debug)]
pub(super) struct Ladder {
    sizes: MapSizes,
    /// The hooks that have not been tried yet, best first.
    hooks: Vec<Hook>,
    forced: bool,
    left: Vec<(&'static str, Backend)>,
    current: &'static str,
    refused: Vec<Refusal>,
    needs_permission: bool,
}

impl Ladder {
    pub(super) fn new(settings: &Builder) -> Self {
        let wanted = if settings.hook.is_some() {
            Backend::Ebpf
        } else {
            settings.backend
        };
        let forced = wanted != Backend::Auto;
        let mut sizes = settings.sizes;
        if settings.thresholds.is_none() {
            sizes.dns_while_told = true;
            sizes.closed_ports = 0;
        }
        if !settings.dns_messages {
            sizes.dns_bytes = 0;
        }
        let is_wanted = |backend| !forced || backend == wanted;
        let all = Backend::ALL.iter().rev();
        let hooks = Hook::ALL.iter().map(|(_, hook)| *hook);
        Self {
            sizes,
            hooks: hooks
                .filter(|hook| settings.hook.is_none_or(|wanted| *hook == wanted))
                .collect(),
            forced,
            left: all
                .filter(|(_, backend)| is_wanted(*backend))
                .copied()
                .collect(),
            current: "",
            refused: Vec::new(),
            needs_permission: false,
        }
    }

    /// Starts the best backend that is left.
    ///
    /// # Errors
    ///
    /// When none is, with the reasons of all.
    pub(super) fn next(&mut self) -> Result<Box<dyn Measure>> {
        while let Some((name, backend)) = self.left.pop() {
            self.current = name;
            match self.open(backend) {
                Ok(running) => return Ok(running),
                Err(error) if self.forced => return Err(error),
                Err(error) => self.refuse(name, &error),
            }
        }
        let reasons: Vec<String> = self
            .refused
            .iter()
            .map(|Refusal { what, why }| format!("{what}: {why}"))
            .collect();
        Err(Error::new(
            if self.needs_permission {
                ErrorKind::Permission
            } else {
                ErrorKind::Unsupported
            },
            format!("no backend can run here ({})", reasons.join("; ")),
        ))
    }

    /// Steps down from the running backend, which failed: to its next hook if it has
    /// one, else to the next backend.
    ///
    /// # Errors
    ///
    /// With the failure itself when there is nothing to step down to.
    pub(super) fn step_down(&mut self, status: Status, failure: Error) -> Result<Box<dyn Measure>> {
        let (failed, hook) = (self.current, status.hook.unwrap_or_default());
        if let Some(at) = self.hooks.iter().position(|one| one.name() == hook) {
            self.hooks.drain(..=at);
            if !self.hooks.is_empty() {
                self.left.push((failed, Backend::Ebpf));
            }
        }
        if self.left.is_empty() {
            return Err(failure);
        }
        log::warn!("{failed} {hook} failed, stepping down: {}", chain(&failure));
        self.refused.extend(status.refused);
        self.refuse(status.hook.unwrap_or(failed), &failure);
        self.next()
    }

    /// The running backend's name.
    pub(super) const fn current(&self) -> &'static str {
        self.current
    }

    /// Why better backends than the running one do not run.
    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    fn refuse(&mut self, what: &str, error: &Error) {
        self.needs_permission |= error.kind() == ErrorKind::Permission;
        self.refused.push(Refusal {
            what: what.to_owned(),
            why: chain(error),
        });
    }

    fn open(&self, backend: Backend) -> Result<Box<dyn Measure>> {
        match backend {
            Backend::Auto | Backend::Ebpf => ebpf::start(self.sizes, &self.hooks),
            Backend::SockDiag => userspace::sock_diag(),
            Backend::Ss => userspace::ss(),
            Backend::Nettop => userspace::nettop(),
            Backend::Estimate => userspace::estimate(),
        }
    }
}
