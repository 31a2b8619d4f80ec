//! Events of a collector: an iterator for threads, a stream for tokio.

mod dns;
mod hub;
mod queue;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;

pub(crate) use self::hub::{Hub, Subscription};
use self::queue::Queue;
use super::{Collector, lock};
use crate::{
    Error, ErrorKind, Result,
    backend::feed::Sink,
    event::{Event, Topic},
};

/// Events that a subscriber may be behind; what comes then is counted as lost. About
/// 300 bytes each, taken as they are needed.
const CAPACITY: usize = 65_536;

/// Events as they happen, for a thread: an [`Iterator`] that waits. Dropping it ends
/// the subscription, and with the last one the cost.
///
/// It ends when the backend fails and another takes its place.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
    _subscription: Subscription,
    /// Keeps it running.
    _collector: Collector,
}

impl Events {
    /// Waits at most so long; `None` when nothing came, or at the end.
    pub fn next_within(&mut self, at_most: Duration) -> Option<Event> {
        self.queue.wait(Instant::now().checked_add(at_most))
    }

    /// `true` when there will be no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.queue.is_over()
    }

    /// The same for tokio, or any other runtime.
    #[must_use]
    pub const fn into_stream(self) -> EventStream {
        EventStream { events: self }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.queue.wait(None)
    }
}

/// Events as they happen: a [`Stream`], or call [`next`](Self::next). It needs no
/// runtime of its own. Dropping it ends the subscription.
#[derive(Debug)]
pub struct EventStream {
    events: Events,
}

impl EventStream {
    /// The next event; `None` at the end. Nothing is lost when this is cancelled.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.events.queue.poll(context)).await
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.next_within(Duration::ZERO)
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.queue.poll(context)
    }
}

impl Collector {
    /// Everything that happens from now on: connections, and messages of DNS clients where
    /// they are seen. Each subscriber gets every event, and is told how many are missing
    /// when it is too slow.
    ///
    /// The first subscription starts a thread and takes about 20 ms, as does the end
    /// of the last one; it makes each connection about a microsecond dearer.
    /// `docs/events.md` has the figures.
    ///
    /// # Errors
    ///
    /// When the backend that runs has no events: only `ebpf` does.
    pub fn events(&self) -> Result<Events> {
        let all: Vec<Topic> = Topic::ALL.iter().map(|(_, topic)| *topic).collect();
        self.listen(&all)
    }

    /// The same of some topics only.
    ///
    /// # Errors
    ///
    /// Also when DNS messages are asked for and not seen: without cgroup v2, and with
    /// [`Builder::without_dns`](crate::Builder::without_dns).
    pub fn events_of(&self, topics: &[Topic]) -> Result<Events> {
        if topics.contains(&Topic::Dns) && !self.hub()?.has_dns() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "DNS messages are not looked at here: they need cgroup v2, and no without_dns",
            ));
        }
        self.listen(topics)
    }

    fn listen(&self, topics: &[Topic]) -> Result<Events> {
        let queue = Arc::new(Queue::new(CAPACITY, topics));
        let subscription = self.hub()?.subscribe(Arc::clone(&queue) as Arc<dyn Sink>)?;
        Ok(Events {
            queue,
            _subscription: subscription,
            _collector: self.clone(),
        })
    }

    /// Who gives events.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    fn hub(&self) -> Result<Arc<Hub>> {
        let core = lock(&self.core);
        core.hub.clone().ok_or_else(|| {
            let running = match core.backend.status().hook {
                Some(hook) => format!("{} with hook {hook}", core.ladder.current()),
                None => core.ladder.current().to_owned(),
            };
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "events come from tracing programs (backend ebpf), and {running} runs here: \
                     netwatch-collector doctor says why"
                ),
            )
        })
    }
}
