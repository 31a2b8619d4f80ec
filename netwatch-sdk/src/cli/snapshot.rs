//! `netwatch-collector snapshot`

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
    output::line(&reader.snapshot()?)
}
