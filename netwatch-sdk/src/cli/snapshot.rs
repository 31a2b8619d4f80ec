//! `netwatch-collector snapshot`

use std::time::Duration;

use super::{arguments::Sampling, output, watch};

pub(crate) fn run(options: &Sampling) -> anyhow::Result<()> {
    let collector = options.start()?;
    let mut reader = collector.reader();
    reader.snapshot()?;
    watch::runtime()?.block_on(async {
        let mut interrupts = watch::Interrupts::new()?;
        tokio::select! {
            () = tokio::time::sleep(options.interval) => {}
            () = interrupts.next() => {}
        }
        anyhow::Ok(())
    })?;
    let mut snapshot = reader.snapshot()?;
    // The probes began with the first reading; three of them take three seconds.
    snapshot.health = reader.wait_for_health(Duration::from_secs(4));
    for gap in reader.gaps() {
        log::warn!("not read: {gap}");
    }
    output::line(&snapshot)
}
