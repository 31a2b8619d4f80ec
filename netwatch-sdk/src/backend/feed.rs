//! Where events come from, and where they go to.

use std::{fmt::Debug, sync::Arc};

use crate::{Result, event::Event, reading::dns::DnsDatagram};

/// A backend's source of events.
pub(crate) trait Feed: Debug + Send + Sync {
    /// Starts to give every event to `sink`, on a thread of its own, until what is
    /// returned is dropped.
    ///
    /// # Errors
    ///
    /// When the source cannot be read.
    fn start(&self, sink: Arc<dyn Sink>) -> Result<Box<dyn Running>>;

    /// Events that did not fit so far, since the backend started.
    fn lost(&self) -> u64;
}

/// A source that runs. Dropping it stops it: nothing is given after that.
pub(crate) trait Running: Debug + Send {
    /// `true` when it has ended by itself.
    fn is_over(&self) -> bool;
}

/// What takes events.
pub(crate) trait Sink: Debug + Send + Sync {
    /// Takes one. Called by one thread at a time, which must not have to wait.
    fn take(&self, event: &Event);

    /// Nothing more has happened for now: whoever waits may be woken.
    fn flush(&self) {}

    /// Takes a DNS message that could not wait for the next reading, likewise.
    fn dns(&self, _message: &DnsDatagram<'_>) {}

    /// There will be no more.
    fn end(&self);
}
