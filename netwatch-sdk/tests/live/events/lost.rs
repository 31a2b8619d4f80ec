//! A buffer that is too small: what is missing is counted.

use anyhow::{Result, bail, ensure};
use chrono::{DateTime, Utc};
use netwatch_sdk::Events;

use super::{
    Pair,
    attempt::Heard,
    collector, listen_while, roomy,
    traffic::{SHAPES, SILENCE},
};
use crate::truth::Truth;

/// Compares with a second collector whose buffer is large enough, over the time from a
/// moment before the traffic to one after it.
pub(super) fn lost() -> Result<()> {
    let tiny = collector(|builder| builder.event_buffer_bytes(4096))?;
    let roomy = collector(roomy)?;
    let (mut few, mut all) = (tiny.events()?, roomy.events()?);
    settle(&mut Heard::default(), &mut few)?;
    let (begin, before) = (Utc::now(), tiny.status().lost.events);
    let mut truth = Truth::default();
    let [mut heard_few, mut heard_all] = listen_while([&mut few, &mut all], || {
        let mut pair = Pair::start(&SHAPES[0], "serve", None)?;
        pair.drive(&SHAPES[0], "drive")?;
        truth = pair.done()?;
        Ok(())
    })?;
    settle(&mut heard_few, &mut few)?;
    let end = Utc::now();
    let counted = tiny.status().lost.events - before;
    ensure!(
        heard_few.lost == counted,
        "{} in the stream, {counted} in the status",
        heard_few.lost
    );
    heard_all.listen_for(&mut all, &truth);
    heard_all.check(&roomy, &truth)?;
    let during = |heard: &Heard| {
        let is_during = |time: DateTime<Utc>| (begin..end).contains(&time);
        let events = heard.events.iter();
        events.filter(|event| is_during(event.time)).count() as u64
    };
    let (few, lost, all) = (
        during(&heard_few),
        heard_few.lost,
        during(&heard_all),
    );
    ensure!(lost > 0, "there was room for all {all}");
    ensure!(few + lost == all, "{few} and {lost} lost, of {all}");
    Ok(())
}

/// Listens until nothing is lost any more.
fn settle(heard: &mut Heard, events: &mut Events) -> Result<()> {
    for _ in 0..50 {
        let before = heard.lost;
        heard.listen(events, SILENCE, |_| false);
        if heard.lost == before {
            return Ok(());
        }
    }
    bail!("the host is never quiet")
}
