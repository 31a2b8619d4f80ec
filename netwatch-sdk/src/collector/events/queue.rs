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
    event::{Event, Lost, Topic},
};

/// Events between the pump and one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    capacity: usize,
    topics: Vec<Topic>,
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
    pub(super) fn new(capacity: usize, topics: &[Topic]) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            capacity,
            topics: topics.to_vec(),
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
    fn wants(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }

    fn take(&self, event: &Event) {
        let topic = match event {
            Event::Connection(_) => Topic::Connections,
            Event::Dns(_) => Topic::Dns,
            // Made here.
            Event::Lost(_) => return,
        };
        if !self.wants(topic) {
            return;
        }
        let mut state = lock(&self.state);
        if state.events.len() >= self.capacity {
            state.lost += 1;
            return;
        }
        if let Some(lost) = state.take_lost() {
            state.events.push_back(lost);
        }
        state.events.push_back(event.clone());
    }

    fn miss(&self, topic: Topic, events: u64) {
        if self.wants(topic) {
            lock(&self.state).lost += events;
        }
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
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{DnsEvent, DnsMessageKind},
        reading::{Attribution, SocketId},
    };

    fn queue(capacity: usize) -> Queue {
        Queue::new(capacity, &[Topic::Dns])
    }

    fn event(transaction: u16) -> Event {
        Event::Dns(Arc::new(DnsEvent {
            kind: DnsMessageKind::Query,
            time: Utc::now(),
            id: SocketId(1),
            local: "192.0.2.1:40000".parse().unwrap(),
            remote: "192.0.2.53:53".parse().unwrap(),
            process: Attribution::Unknown,
            process_name: String::new(),
            process_started_at: None,
            forwards: false,
            transaction: Some(transaction),
            name: None,
            record_type: None,
            opcode: None,
            rcode: None,
            latency: None,
        }))
    }

    /// The number of an event, or how many are lost.
    fn next(queue: &Queue) -> Option<Result<u16, u64>> {
        match queue.wait(Some(Instant::now()))? {
            Event::Dns(event) => event.transaction.map(Ok),
            Event::Lost(lost) => Some(Err(lost.events)),
            Event::Connection(_) => None,
        }
    }

    #[test]
    fn what_has_no_room_is_counted_where_it_is_missing() {
        let queue = queue(2);
        for number in 1..=5 {
            queue.take(&event(number));
        }
        assert_eq!(next(&queue), Some(Ok(1)));
        queue.take(&event(6));
        assert_eq!(next(&queue), Some(Ok(2)));
        assert_eq!(next(&queue), Some(Err(3)));
        assert_eq!(next(&queue), Some(Ok(6)));
        assert_eq!(next(&queue), None);
    }

    #[test]
    fn what_the_source_misses_is_lost_to_those_who_want_it() {
        let queue = queue(2);
        queue.take(&event(1));
        queue.miss(Topic::Connections, 100);
        queue.miss(Topic::Dns, 20);
        queue.take(&event(2));
        queue.take(&event(3));
        assert_eq!(next(&queue), Some(Ok(1)));
        assert_eq!(next(&queue), Some(Err(20)));
        assert_eq!(next(&queue), Some(Ok(2)));
        assert_eq!(next(&queue), Some(Err(1)));
        assert_eq!(next(&queue), None);
        let other = Queue::new(2, &[Topic::Connections]);
        other.take(&event(1));
        assert_eq!(next(&other), None);
    }

    #[test]
    fn the_end_comes_after_everything_before_it() {
        let queue = queue(1);
        queue.take(&event(1));
        queue.take(&event(2));
        queue.end();
        assert!(!queue.is_over());
        assert_eq!(next(&queue), Some(Ok(1)));
        assert_eq!(next(&queue), Some(Err(1)));
        assert!(queue.is_over());
        assert_eq!(queue.wait(None), None);
    }

    #[test]
    fn a_waiting_subscriber_is_woken() {
        let queue = queue(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait(None));
            std::thread::sleep(Duration::from_millis(10));
            let sent = event(1);
            queue.take(&sent);
            queue.flush();
            assert_eq!(waiting.join().unwrap(), Some(sent));
        });
    }
}
