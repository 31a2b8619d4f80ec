//! Settings.

use std::time::Instant;

use super::{Collector, Hook, detection::Detection, ladder::Ladder};
use crate::{Result, backend::map_sizes::MapSizes, detect::Thresholds};

/// Which way of measuring to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// The best that this host allows.
    #[default]
    Auto,
    /// Kernel programs.
    Ebpf,
    /// The kernel's socket diagnostics.
    SockDiag,
    /// The command `ss`.
    Ss,
    /// The commands `nettop` and `lsof` of macOS.
    Nettop,
    /// Interface totals shared out by connection count: a guess.
    Estimate,
}

impl Backend {
    /// Every backend but `Auto` with its name, best first.
    pub const ALL: &[(&'static str, Self)] = &[
        ("ebpf", Self::Ebpf),
        ("sock_diag", Self::SockDiag),
        ("ss", Self::Ss),
        ("nettop", Self::Nettop),
        ("estimate", Self::Estimate),
    ];
}

/// Settings of a [`Collector`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) backend: Backend,
    pub(super) hook: Option<Hook>,
    pub(super) sizes: MapSizes,
    /// `None` when nothing is to be detected.
    pub(super) thresholds: Option<Thresholds>,
    pub(super) dns_messages: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            hook: None,
            sizes: MapSizes::default(),
            thresholds: Some(Thresholds::default()),
            dns_messages: true,
        }
    }
}

impl Builder {
    /// Chooses the way of measuring; the best that works by default.
    #[must_use]
    pub const fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Counts payload by this hook or not at all, with [`Backend::Ebpf`] whatever
    /// [`backend`](Self::backend) says; the best that works by default. For tests and
    /// for finding faults.
    #[must_use]
    pub const fn hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Room for processes that moved bytes and are alive, or ended since the previous
    /// reading; 16,384 by default, about 200 bytes of kernel memory each. When it is
    /// full, bytes on open sockets still reach their process, and the rest is counted
    /// in [`Lost`](crate::reading::Lost).
    #[must_use]
    pub const fn max_processes(mut self, processes: u32) -> Self {
        self.sizes.processes = if processes == 0 { 1 } else { processes };
        self
    }

    /// Room for sockets at the same time where the kernel cannot keep their records in
    /// the sockets themselves: with the hook `kprobe`, and on Linux 7.0 and newer. 65,536
    /// by default; about 256 bytes of kernel memory each, allocated at the start, there
    /// only. When it is full, the bytes of further sockets still reach their process, and
    /// their calls are counted in [`Lost`](crate::reading::Lost).
    #[must_use]
    pub const fn max_sockets(mut self, sockets: u32) -> Self {
        self.sizes.sockets = if sockets == 0 { 1 } else { sockets };
        self
    }

    /// Keeps the records of sockets in a table also where the kernel could keep them in
    /// the sockets: the tests' way to that code on any kernel.
    #[doc(hidden)]
    #[must_use]
    pub const fn in_table(mut self) -> Self {
        self.sizes.in_table = true;
        self
    }

    /// Room for the rows of sockets that closed since the previous reading, in bytes
    /// of kernel memory, 296 a socket; 4 MiB by default, rounded up to a power of two
    /// of at least 4,096. When it is full, rows are lost and counted in
    /// [`Lost`](crate::reading::Lost); the bytes still reach their process.
    #[must_use]
    pub const fn closed_buffer_bytes(mut self, bytes: u32) -> Self {
        self.sizes.closed_bytes = ring_bytes(bytes);
        self
    }

    /// Room for events that no subscriber has been given yet, in bytes of kernel memory,
    /// 184 an event; 2 MiB by default, rounded like
    /// [`closed_buffer_bytes`](Self::closed_buffer_bytes). When it is full, events are
    /// lost, and the stream says how many.
    #[must_use]
    pub const fn event_buffer_bytes(mut self, bytes: u32) -> Self {
        self.sizes.event_bytes = ring_bytes(bytes);
        self
    }

    /// The detectors' settings. They run by default, where the backend sees what they
    /// need (kernel programs): see [`detect`](crate::detect).
    #[must_use]
    pub fn detectors(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = Some(thresholds);
        self
    }

    /// Detects nothing, and looks at DNS messages only while someone listens to their events;
    /// snapshots have neither alerts nor DNS figures.
    #[must_use]
    pub fn without_detectors(mut self) -> Self {
        self.thresholds = None;
        self
    }

    /// Looks at no DNS message: snapshots have no DNS figures, and there are no events of
    /// them.
    #[must_use]
    pub const fn without_dns(mut self) -> Self {
        self.dns_messages = false;
        self
    }

    /// Room for DNS messages, in bytes of kernel memory, 376 a message; 2 MiB by default
    /// (5,500 messages), rounded like
    /// [`closed_buffer_bytes`](Self::closed_buffer_bytes). Readings take them out, or a
    /// thread once it is a quarter full. What does not fit is counted in [`Lost`](crate::reading::Lost).
    #[must_use]
    pub const fn dns_buffer_bytes(mut self, bytes: u32) -> Self {
        self.sizes.dns_bytes = ring_bytes(bytes);
        self
    }

    /// Starts measuring, on this thread. With kernel programs it takes about 60 ms.
    ///
    /// # Errors
    ///
    /// When the chosen backend or hook cannot run, or none can. The message names the missing
    /// capability, kernel feature, mount or program, and the way out.
    pub fn start(self) -> Result<Collector> {
        let began = Instant::now();
        let ladder = Ladder::new(&self);
        let detection = self.thresholds.map(Detection::new);
        Collector::start_on(ladder, detection, began)
    }
}

/// A size that a ring buffer can have.
const fn ring_bytes(bytes: u32) -> u32 {
    const MAX: u32 = 1 << 30;
    if bytes > MAX {
        MAX
    } else if bytes < 4096 {
        4096
    } else {
        bytes.next_power_of_two()
    }
}
