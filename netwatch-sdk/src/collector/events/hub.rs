//! One feed, many sinks: the feed runs while there is a sink.

use std::sync::{Arc, Mutex};

use super::dns::Questions;
use crate::{
    Result,
    backend::feed::{Feed, Running, Sink},
    collector::lock,
    error::chain,
    event::{Event, Topic},
    reading::dns::DnsDatagram,
};

/// Gives what a feed delivers to every sink.
#[derive(Debug)]
pub(crate) struct Hub {
    feed: Arc<dyn Feed>,
    /// Locked by those who start and stop the feed, which its own thread never does.
    running: Mutex<Option<Box<dyn Running>>>,
    sinks: Arc<Sinks>,
}

#[derive(Debug, Default)]
struct Sinks {
    all: Mutex<Vec<Arc<dyn Sink>>>,
    /// While one of them wants events of DNS.
    questions: Mutex<Option<Questions>>,
}

impl Sinks {
    fn one_wants(&self, topic: Topic) -> bool {
        lock(&self.all).iter().any(|sink| sink.wants(topic))
    }
}

impl Sink for Sinks {
    fn wants(&self, topic: Topic) -> bool {
        self.one_wants(topic)
    }

    fn take(&self, event: &Event) {
        for sink in lock(&self.all).iter() {
            sink.take(event);
        }
    }

    fn miss(&self, topic: Topic, events: u64) {
        for sink in lock(&self.all).iter() {
            sink.miss(topic, events);
        }
    }

    fn dns(&self, message: &DnsDatagram<'_>) {
        let event = lock(&self.questions)
            .as_mut()
            .map(|questions| Event::Dns(Arc::new(questions.event(message))));
        for sink in lock(&self.all).iter() {
            sink.dns(message);
            if let Some(event) = &event {
                sink.take(event);
            }
        }
    }

    fn flush(&self) {
        for sink in lock(&self.all).iter() {
            sink.flush();
        }
    }

    fn end(&self) {
        for sink in lock(&self.all).drain(..) {
            sink.end();
        }
    }
}

impl Hub {
    pub(crate) fn new(feed: Arc<dyn Feed>) -> Arc<Self> {
        Arc::new(Self {
            feed,
            running: Mutex::default(),
            sinks: Arc::default(),
        })
    }

    /// Gives everything from now on to `sink` too, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// When the feed does not start.
    pub(crate) fn subscribe(self: &Arc<Self>, sink: Arc<dyn Sink>) -> Result<Subscription> {
        let mut running = lock(&self.running);
        let told = self.sinks.one_wants(Topic::Dns);
        let tell = !told && sink.wants(Topic::Dns);
        lock(&self.sinks.all).push(Arc::clone(&sink));
        let subscription = Subscription {
            hub: Arc::clone(self),
            sink,
        };
        let started = if running.as_ref().is_none_or(|feed| feed.is_over()) {
            self.feed
                .start(Arc::clone(&self.sinks) as Arc<dyn Sink>)
                .map(|feed| *running = Some(feed))
        } else {
            Ok(())
        };
        let started = started.and_then(|()| {
            if tell {
                self.feed.tell_dns(true, &*self.sinks)?;
                *lock(&self.sinks.questions) = Some(Questions::default());
            }
            Ok(())
        });
        drop(running);
        started.map(|()| subscription)
    }

    /// Whether there are DNS messages.
    pub(crate) fn has_dns(&self) -> bool {
        self.feed.has_dns()
    }

    /// Gives a DNS message that a reading took to every sink.
    pub(crate) fn dns(&self, message: &DnsDatagram<'_>) {
        self.sinks.dns(message);
    }

    /// Wakes who waits for such.
    pub(crate) fn flush(&self) {
        self.sinks.flush();
    }

    /// Ends every subscription: the backend is gone.
    pub(crate) fn end(&self) {
        *lock(&self.running) = None;
        self.sinks.end();
    }

    /// Events that did not fit, since the backend started.
    pub(crate) fn lost(&self) -> u64 {
        self.feed.lost()
    }
}

/// A sink's place at a hub.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    sink: Arc<dyn Sink>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut running = lock(&self.hub.running);
        let sinks = &self.hub.sinks;
        let mut all = lock(&sinks.all);
        all.retain(|sink| !Arc::ptr_eq(sink, &self.sink));
        let is_last = all.is_empty();
        drop(all);
        if self.sink.wants(Topic::Dns) && !sinks.one_wants(Topic::Dns) {
            *lock(&sinks.questions) = None;
            if let Err(error) = self.hub.feed.tell_dns(false, &**sinks) {
                log::warn!("DNS messages are still told: {}", chain(&error));
            }
        }
        if is_last {
            *running = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::collector::events::queue::Queue;

    /// Notes what it is told.
    #[derive(Debug, Default)]
    struct Noting {
        told: AtomicBool,
        calls: AtomicUsize,
    }

    #[derive(Debug)]
    struct Endless;

    impl Running for Endless {
        fn is_over(&self) -> bool {
            false
        }
    }

    impl Feed for Noting {
        fn start(&self, _sink: Arc<dyn Sink>) -> Result<Box<dyn Running>> {
            Ok(Box::new(Endless))
        }

        fn tell_dns(&self, told: bool, _sink: &dyn Sink) -> Result<()> {
            self.told.store(told, Relaxed);
            self.calls.fetch_add(1, Relaxed);
            Ok(())
        }

        fn lost(&self) -> u64 {
            0
        }
    }

    #[test]
    fn dns_is_told_from_the_first_who_wants_it_to_the_last() {
        let feed = Arc::new(Noting::default());
        let hub = Hub::new(Arc::clone(&feed) as Arc<dyn Feed>);
        let subscribe = |topic| hub.subscribe(Arc::new(Queue::new(1, &[topic]))).unwrap();
        let state = || (feed.told.load(Relaxed), feed.calls.load(Relaxed));
        let connections = subscribe(Topic::Connections);
        assert_eq!(state(), (false, 0));
        let (one, other) = (subscribe(Topic::Dns), subscribe(Topic::Dns));
        assert_eq!(state(), (true, 1));
        drop((one, connections));
        assert_eq!(state(), (true, 1));
        drop(other);
        assert_eq!(state(), (false, 2));
        assert!(lock(&hub.sinks.questions).is_none());
        drop(subscribe(Topic::Dns));
        assert_eq!(state(), (false, 4));
    }
}
