//! `netwatch-collector watch`

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{arguments::Watch, output};

pub(crate) fn run(options: &Watch) -> anyhow::Result<()> {
    let collector = options.sampling.start()?;
    let mut reader = collector.reader();
    let mut left = options.count;
    runtime()?.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let period = options.sampling.interval;
        let mut ticks = interval_at(Instant::now(), period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while left != Some(0) {
            let interrupted = tokio::select! {
                _ = ticks.tick() => false,
                () = interrupts.next() => true,
            };
            output::snapshot(&mut reader)?;
            if interrupted {
                break;
            }
            left = left.map(|left| left - 1);
        }
        Ok(())
    })
}

pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// SIGINT and SIGTERM; Ctrl-C elsewhere.
#[derive(Debug)]
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Interrupts {
    #[cfg(unix)]
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            signals: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            ],
        })
    }

    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        // Without a handler there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
