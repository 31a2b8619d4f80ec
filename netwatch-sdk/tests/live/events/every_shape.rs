//! Whatever moved the bytes, the last event has them all.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, ensure};
use netwatch_sdk::{
    event::{Change, ConnectionEvent},
    reading::Attribution,
};

use super::{attempt::allow_missed, collector, listen_while, roomy, traffic::SILENCE};
use crate::{
    actor::Unavailable,
    director::Run,
    observe::ensure_counted,
    shape::Family,
    shapes,
    truth::{Claim, Moved, Truth, sum},
};

pub(super) fn every_shape() -> Result<()> {
    let collector = collector(roomy)?;
    let mut events = collector.events()?;
    let mut truths = Vec::new();
    let [mut heard] = listen_while([&mut events], || {
        for shape in shapes::unattended().filter(|one| one.family == Family::V4) {
            let counted = ensure_counted(&collector, shape);
            let run = counted.and_then(|()| Run::start(shape));
            match run.and_then(|run| complete(run).context(shape.name())) {
                Ok(truth) => truths.push((shape, truth)),
                // Its own test says the same.
                Err(error) if error.downcast_ref::<Unavailable>().is_some() => {
                    eprintln!("{}: {error:#}", shape.name());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    heard.listen(&mut events, SILENCE, |_| false);
    ensure!(heard.lost == 0, "{} events are lost", heard.lost);
    let mut checked = 0;
    let mut differ = Vec::new();
    for (shape, truth) in &truths {
        let mut sockets: BTreeMap<u64, Vec<&Moved>> = BTreeMap::new();
        let mut moved = truth.moved.iter();
        while let Some(one) = moved.by_ref().find(|one| one.protocol == 6) {
            if one.remote.is_some() {
                sockets.entry(one.cookie).or_default().push(one);
            }
        }
        for (cookie, moved) in sockets {
            let events = heard.connections.get(&cookie).map_or(&[][..], Vec::as_slice);
            let same = check(&moved, events);
            differ.extend(same.err().map(|error| error.context(shape.name())));
            checked += 1;
        }
    }
    allow_missed(&collector, differ)?;
    // In a virtual machine the shapes are smaller.
    let enough = match std::env::var_os("NETWATCH_VM") {
        Some(_) => 500,
        None => 2000,
    };
    ensure!(checked > enough, "only {checked} sockets");
    Ok(())
}

/// Closed once, with the bytes it moved.
fn check(moved: &[&Moved], events: &[Arc<ConnectionEvent>]) -> Result<()> {
    let ends: Vec<_> = events.iter().filter(|one| one.change == Change::Closed).collect();
    let [end] = ends[..] else {
        anyhow::bail!("{} ends of {moved:?}: {events:#?}", ends.len());
    };
    let bytes = (end.payload.tx_bytes, end.payload.rx_bytes);
    let expected = sum(moved.iter().copied());
    ensure!(bytes == expected, "{bytes:?}, not {expected:?}: {moved:?}");
    if let Some(owner) = moved.iter().find(|one| one.claim == Claim::Owner) {
        let Attribution::Process(id) = end.process else {
            anyhow::bail!("{:?} of {owner:?}", end.process);
        };
        ensure!(id.pid.0 == owner.pid, "{id:?} of {owner:?}");
    }
    Ok(())
}

fn complete(mut run: Run) -> Result<Truth> {
    let truth = run.done()?;
    run.release()?;
    Ok(truth)
}
