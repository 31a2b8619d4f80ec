//! One feed, many sinks: the feed runs while there is a sink.

use std::sync::{Arc, Mutex};

use crate::{
    Result,
    backend::feed::{Feed, Running, Sink},
    collector::lock,
    event::Event,
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
struct Sinks(Mutex<Vec<Arc<dyn Sink>>>);

impl Sink for Sinks {
    fn take(&self, event: &Event) {
        for sink in lock(&self.0).iter() {
            sink.take(event);
        }
    }

    fn dns(&self, message: &DnsDatagram<'_>) {
        for sink in lock(&self.0).iter() {
            sink.dns(message);
        }
    }

    fn flush(&self) {
        for sink in lock(&self.0).iter() {
            sink.flush();
        }
    }

    fn end(&self) {
        for sink in lock(&self.0).drain(..) {
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
        lock(&self.sinks.0).push(Arc::clone(&sink));
        let subscription = Subscription {
            hub: Arc::clone(self),
            sink,
        };
        if running.as_ref().is_none_or(|feed| feed.is_over()) {
            match self.feed.start(Arc::clone(&self.sinks) as Arc<dyn Sink>) {
                Ok(feed) => *running = Some(feed),
                Err(error) => {
                    drop(running);
                    return Err(error);
                }
            }
        }
        Ok(subscription)
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
        let mut sinks = lock(&self.hub.sinks.0);
        sinks.retain(|sink| !Arc::ptr_eq(sink, &self.sink));
        let is_last = sinks.is_empty();
        drop(sinks);
        if is_last {
            *running = None;
        }
    }
}
