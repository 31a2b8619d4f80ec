//! Snapshots at an interval, for tokio.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

use super::{Collector, Reader};
use crate::{Result, wire::Snapshot};

/// Snapshots as they come: a [`Stream`], or call [`next`](Self::next). Dropping it
/// stops them.
#[derive(Debug)]
pub struct Snapshots {
    receiver: mpsc::Receiver<Result<Snapshot>>,
    task: JoinHandle<()>,
}

impl Snapshots {
    /// The next snapshot; `None` once the runtime shuts down.
    pub async fn next(&mut self) -> Option<Result<Snapshot>> {
        self.receiver.recv().await
    }
}

impl Stream for Snapshots {
    type Item = Result<Snapshot>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx)
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// A snapshot every `period`, the first after one. A consumer that is late gets
    /// one longer interval instead of a backlog. Must be called within a tokio runtime;
    /// reading happens on its blocking threads.
    #[must_use]
    pub fn snapshots(&self, period: Duration) -> Snapshots {
        let (sender, receiver) = mpsc::channel(1);
        let mut reader = self.reader();
        let task = tokio::spawn(async move {
            let mut ticks = interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let Ok(permit) = sender.reserve().await else {
                    return;
                };
                let Some((back, snapshot)) = read(reader).await else {
                    return;
                };
                reader = back;
                permit.send(snapshot);
            }
        });
        Snapshots { receiver, task }
    }
}

async fn read(mut reader: Reader) -> Option<(Reader, Result<Snapshot>)> {
    spawn_blocking(move || {
        let snapshot = reader.snapshot();
        (reader, snapshot)
    })
    .await
    .ok()
}
