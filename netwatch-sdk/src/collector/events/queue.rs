//! What one subscriber has not taken yet: bounded, and exact about what had no room.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use chrono::Utc;

use crate::{
    backend::feed::Sink,
    collector::lock,
    event::{Event, Lost},
};

/// Events between the pump and one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// Events after the last of `events` that had no room.
    lost: u64,
    is_over: bool,
    waker: Option<Waker>,
}

impl State {
    fn pop(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.take_lost())
    }

    fn take_lost(&mut self) -> Option<Event> {
        let events = std::mem::take(&mut self.lost);
        (events > 0).then(|| {
            Event::Lost(Lost {
                time: Utc::now(),
                events,
            })
        })
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            capacity,
        }
    }

    /// The next event; `None` at the end, or at `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<Event> {
        let mut state = lock(&self.state);
        loop {
            if let Some(event) = state.pop() {
                return Some(event);
            }
            if state.is_over {
                return None;
            }
            state = match deadline {
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left == Duration::ZERO {
                        return None;
                    }
                    let waited = self.filled.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut state = lock(&self.state);
        match state.pop() {
            None if !state.is_over => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            event => Poll::Ready(event),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.is_over && state.events.is_empty() && state.lost == 0
    }

    fn wake(&self, waker: Option<Waker>) {
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sink for Queue {
    fn take(&self, event: &Event) {
        let mut state = lock(&self.state);
        if state.events.len() >= self.capacity {
            state.lost += match event {
                Event::Lost(lost) => lost.events,
                _ => 1,
            };
            return;
        }
        if let Some(lost) = state.take_lost() {
            state.events.push_back(lost);
        }
        state.events.push_back(event.clone());
    }

    /// Waking for each event would cost more than the event.
    fn flush(&self) {
        let mut state = lock(&self.state);
        let waker = state.waker.take();
        drop(state);
        self.wake(waker);
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        let waker = state.waker.take();
        drop(state);
        self.wake(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(events: u64) -> Event {
        Event::Lost(Lost {
            time: Utc::now(),
            events,
        })
    }

    fn count(event: Option<Event>) -> Option<u64> {
        match event {
            Some(Event::Lost(lost)) => Some(lost.events),
            _ => None,
        }
    }

    #[test]
    fn what_has_no_room_is_counted_where_it_is_missing() {
        let queue = Queue::new(2);
        for events in [100, 200, 3, 4] {
            queue.take(&lost(events));
        }
        assert_eq!(count(queue.wait(None)), Some(100));
        queue.take(&lost(300));
        assert_eq!(count(queue.wait(None)), Some(200));
        assert_eq!(count(queue.wait(None)), Some(7));
        assert_eq!(count(queue.wait(None)), Some(300));
        assert_eq!(queue.wait(Some(Instant::now())), None);
    }

    #[test]
    fn the_end_comes_after_everything_before_it() {
        let queue = Queue::new(1);
        queue.take(&lost(1));
        queue.take(&lost(2));
        queue.end();
        assert!(!queue.is_over());
        assert_eq!(count(queue.wait(None)), Some(1));
        assert_eq!(count(queue.wait(None)), Some(2));
        assert!(queue.is_over());
        assert_eq!(queue.wait(None), None);
    }

    #[test]
    fn a_waiting_subscriber_is_woken() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait(None));
            std::thread::sleep(Duration::from_millis(10));
            queue.take(&lost(1));
            queue.flush();
            assert_eq!(count(waiting.join().unwrap()), Some(1));
        });
    }
}
