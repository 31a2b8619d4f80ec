//! Where events come from, and where they go to.

use std::{fmt::Debug, sync::Arc};

use crate::{
    Result,
    event::{Event, Topic},
    reading::dns::DnsDatagram,
};

/// A backend's source of events.
pub(crate) trait Feed: Debug + Send + Sync {
    /// Starts to give every event to `sink`, on a thread of its own, until what is
    /// returned is dropped.
    ///
    /// # Errors
    ///
    /// When the source cannot be read.
    fn start(&self, sink: Arc<dyn Sink>) -> Result<Box<dyn Running>>;

    /// Whether it has DNS messages, too.
    fn has_dns(&self) -> bool {
        false
    }

    /// Gives DNS messages as they come while it runs, or leaves them to readings again.
    /// Gives `sink` what came before.
    ///
    /// # Errors
    ///
    /// When the source cannot be told.
    fn tell_dns(&self, _told: bool, _sink: &dyn Sink) -> Result<()> {
        Ok(())
    }

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
    /// Whether it takes events of that topic.
    fn wants(&self, topic: Topic) -> bool;

    /// Takes one. Called by one thread at a time, which must not have to wait.
    fn take(&self, event: &Event);

    /// So many events of a topic are missing from here on.
    fn miss(&self, _topic: Topic, _events: u64) {}

    /// Nothing more has happened for now: whoever waits may be woken.
    fn flush(&self) {}

    /// Takes a DNS message, as it passed.
    fn dns(&self, _message: &DnsDatagram<'_>) {}

    /// There will be no more.
    fn end(&self);
}
