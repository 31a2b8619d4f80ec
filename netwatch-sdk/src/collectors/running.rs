//! The one collector of this process, which the functions of the published crate share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Collector, Error, Result, Status, error::chain, reading::Reading};

/// A host that refuses is asked again after this.
const RETRY: Duration = Duration::from_secs(60);

static OF_THIS_PROCESS: Mutex<Running> = Mutex::new(Running {
    collector: None,
    failure: None,
});

/// A collector once one was asked for, and what went wrong the last time.
#[derive(Debug)]
struct Running {
    collector: Option<Collector>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    error: Error,
    at: Instant,
}

impl Running {
    /// The running collector; else a new one, unless that failed a moment ago.
    fn get(
        &mut self,
        now: Instant,
        start: impl FnOnce() -> Result<Collector>,
    ) -> Result<Collector> {
        if let Some(collector) = &self.collector {
            return Ok(collector.clone());
        }
        if let Some(failure) = &self.failure
            && now.saturating_duration_since(failure.at) < RETRY
        {
            return Err(repeat(&failure.error));
        }
        let started = start();
        let started = self.noted(now, started);
        self.collector = started.as_ref().ok().cloned();
        started
    }

    /// Remembers how the last attempt went.
    fn noted<T>(&mut self, now: Instant, outcome: Result<T>) -> Result<T> {
        self.failure = outcome.as_ref().err().map(|error| Failure {
            error: repeat(error),
            at: now,
        });
        outcome
    }

    fn status(&self) -> Option<Result<Status>> {
        match (&self.failure, &self.collector) {
            (Some(failure), _) => Some(Err(repeat(&failure.error))),
            (None, Some(collector)) => Some(Ok(collector.status())),
            (None, None) => None,
        }
    }
}

/// The same error again, its causes in its message.
fn repeat(error: &Error) -> Error {
    Error::new(error.kind(), chain(error))
}

fn running() -> MutexGuard<'static, Running> {
    OF_THIS_PROCESS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// The collector of this process. The first call starts it.
pub(super) fn collector() -> Result<Collector> {
    running().get(Instant::now(), || {
        // They report no alerts, and read when asked only.
        let builder = Collector::builder().without_detectors();
        builder.without_dns().start()
    })
}

/// Everything as it is now.
pub(super) fn read() -> Result<Reading> {
    noted(collector()?.read_once())
}

/// Remembers for [`status`] how reading went.
pub(super) fn noted<T>(outcome: Result<T>) -> Result<T> {
    running().noted(Instant::now(), outcome)
}

pub(super) fn status() -> Option<Result<Status>> {
    running().status()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::ErrorKind;

    const NOTHING: Running = Running {
        collector: None,
        failure: None,
    };

    #[test]
    fn a_host_that_refuses_is_asked_once_a_minute() {
        let asked = Cell::new(0);
        let refuse = || {
            asked.set(asked.get() + 1);
            Err(Error::new(ErrorKind::Permission, "not allowed").because("no capability"))
        };
        let mut running = NOTHING;
        assert!(running.status().is_none());
        let begin = Instant::now();
        for seconds in [0, 1, 59] {
            let now = begin + Duration::from_secs(seconds);
            let error = running.get(now, refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Permission);
            assert_eq!(error.to_string().contains("no capability"), seconds > 0);
        }
        assert_eq!(asked.get(), 1);
        running.get(begin + RETRY, refuse).unwrap_err();
        assert_eq!(asked.get(), 2);
        let error = running.status().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "not allowed: no capability");
    }

    #[test]
    fn a_failed_reading_shows_until_one_succeeds() {
        let mut running = NOTHING;
        let now = Instant::now();
        let lost = Err::<(), _>(Error::new(ErrorKind::Io, "no answer"));
        running.noted(now, lost).unwrap_err();
        assert!(running.status().unwrap().is_err());
        running.noted(now, Ok(())).unwrap();
        assert!(running.status().is_none());
    }
}
