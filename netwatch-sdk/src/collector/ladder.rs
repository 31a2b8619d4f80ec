//! The choice of a backend: the best that starts, and the next when it fails.

use super::{Backend, Builder, Refusal};
use crate::{
    Error, ErrorKind, Result,
    backend::{
        Measure,
        ebpf::{Ebpf, MapSizes},
        userspace,
    },
    error::chain,
};

/// The backends that have not been tried yet, and why the others do not run.
#[derive(Debug)]
pub(super) struct Ladder {
    sizes: MapSizes,
    forced: bool,
    left: Vec<(&'static str, Backend)>,
    current: &'static str,
    refused: Vec<Refusal>,
    needs_permission: bool,
}

impl Ladder {
    pub(super) fn new(settings: &Builder) -> Self {
        let forced = settings.backend != Backend::Auto;
        let is_wanted = |backend| !forced || backend == settings.backend;
        let all = Backend::ALL.iter().rev();
        Self {
            sizes: MapSizes {
                dns_bytes: match settings.thresholds {
                    Some(_) => settings.sizes.dns_bytes,
                    None => 0,
                },
                ..settings.sizes
            },
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
                Err(error) => self.refuse(&error),
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

    /// Steps down from the running backend, which failed.
    ///
    /// # Errors
    ///
    /// With the failure itself when there is nothing to step down to.
    pub(super) fn step_down(&mut self, failure: Error) -> Result<Box<dyn Measure>> {
        if self.forced || self.left.is_empty() {
            return Err(failure);
        }
        let failed = self.current;
        log::warn!("{failed} failed, stepping down: {}", chain(&failure));
        self.refuse(&failure);
        self.next()
    }

    /// Why better backends than the running one do not run.
    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    fn refuse(&mut self, error: &Error) {
        self.needs_permission |= error.kind() == ErrorKind::Permission;
        self.refused.push(Refusal {
            what: self.current.to_owned(),
            why: chain(error),
        });
    }

    fn open(&self, backend: Backend) -> Result<Box<dyn Measure>> {
        match backend {
            Backend::Auto | Backend::Ebpf => Ok(Box::new(Ebpf::start(self.sizes)?)),
            Backend::SockDiag => userspace::sock_diag(),
            Backend::Ss => userspace::ss(),
            Backend::Nettop => userspace::nettop(),
            Backend::Estimate => userspace::estimate(),
        }
    }
}
