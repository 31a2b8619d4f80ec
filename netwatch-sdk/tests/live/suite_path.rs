//! Round-trip times and retransmissions, over a wire with a delay or a loss that is known.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::reading::Rtt;

use crate::{
    compare::{Moment, compare},
    conservation::{Offload, Pair, check_rows, settle, talk},
    observe::{self, Observation},
    quiet,
    shape::Family,
    trial::trial,
    truth::{TcpInfo, Truth},
};

/// What emulation and a busy host add to a delay, but for hiccups.
const TOLERANCE: Duration = Duration::from_millis(15);
const ATTEMPTS: usize = 4;
const LOSS_PERCENT: u32 = 10;

pub(crate) fn trials() -> Vec<Trial> {
    let about = "smoothed and smallest round-trip time are TCP_INFO's, and that of the wire";
    let mut trials: Vec<Trial> = [("rtt-40ms", 40), ("rtt-100ms", 100), ("rtt-200ms", 200)]
        .map(|(name, delay)| trial(name, about, move || round_trips(delay)))
        .into();
    trials.push(trial(
        "loss",
        "with packets lost, retransmissions are TCP_INFO's, and every byte on the wire counts",
        loss,
    ));
    trials
}

fn round_trips(delay: u64) -> Result<()> {
    let _alone = quiet::alone();
    let pair = Pair::new(Offload::On)?;
    pair.left.impair(Duration::ZERO, 0)?;
    // Emulated code is slow the first time.
    let (mut client, mut server, _) = talk(&pair, "paced-requests", Family::V4)?;
    client.release()?;
    server.release()?;
    let delay = Duration::from_millis(delay);
    pair.left.impair(delay, 0)?;
    for attempt in 1..=ATTEMPTS {
        let (mut client, mut server, truth) = talk(&pair, "paced-requests", Family::V4)?;
        let seen = observe::shared()?.read()?;
        compare(&truth, &seen, Moment::Open).expect_none()?;
        client.release()?;
        server.release()?;
        // They are TCP_INFO's; if those are off, it was the wire that was slow.
        match off_by(&reported(&truth, &seen)?, delay) {
            Some(off) if attempt == ATTEMPTS => bail!("{off}"),
            Some(_) => {}
            None => break,
        }
    }
    Ok(())
}

/// What each end's row says, which has to be what `TCP_INFO` says.
fn reported(truth: &Truth, seen: &Observation) -> Result<Vec<Rtt>> {
    let ends = both(truth)?.iter();
    ends.map(|info| Ok(of(info, seen)?.0)).collect()
}

/// How a round-trip time differs from the wire's delay, if one does.
fn off_by(reported: &[Rtt], delay: Duration) -> Option<String> {
    let allowed = delay..=delay + TOLERANCE;
    let times = reported.iter().flat_map(|rtt| {
        let smallest = rtt.minimum.unwrap_or_default();
        [("smoothed", rtt.smoothed), ("smallest", smallest)]
    });
    let mut off = times.filter(|(_, time)| !allowed.contains(time));
    let (what, time) = off.next()?;
    Some(format!("{what} is {time:?}, the wire's is {delay:?}"))
}

fn loss() -> Result<()> {
    let _quiet = quiet::among_others();
    let pair = Pair::new(Offload::Off)?;
    pair.right.impair(Duration::ZERO, LOSS_PERCENT)?;
    let before = observe::shared()?.read()?;
    let (left, right) = (pair.left.watch()?, pair.right.watch()?);
    let (mut client, mut server, truth) = talk(&pair, "lossy-transfer", Family::V4)?;
    let seen = observe::shared()?.read()?.since(&before);
    compare(&truth, &seen, Moment::Open).expect_none()?;
    let (on_left, on_right) = settle(&pair, &left, &right, Offload::Off)?;
    left.capture.finish()?;
    right.capture.finish()?;
    // What the right sends and the wire loses, no interface counts: all but that has to agree.
    check_rows("left", &pair.left, (&on_left, &on_right), &seen)?;
    let mut retransmits = 0;
    for info in both(&truth)? {
        retransmits += of(info, &seen)?.1;
    }
    ensure!(retransmits > 0, "nothing was sent again");
    let of_right = seen
        .sockets
        .values()
        .filter(|row| row.netns == Some(pair.right.namespace.inode))
        .filter_map(|row| row.wire);
    let (tx, rx) = of_right.fold((0, 0), |(tx, rx), wire| {
        (tx + wire.tx_packets, rx + wire.rx_packets)
    });
    let (sent, arrived) = (on_right.tally.sent.segments, on_left.tally.sent.segments);
    ensure!(
        tx > sent && rx == arrived,
        "{tx} packets sent, {sent} of them not lost; {rx} received of {arrived}"
    );
    client.release()?;
    server.release()
}

/// What both ends of the connection said.
fn both(truth: &Truth) -> Result<&[TcpInfo]> {
    let told = truth.connections.as_slice();
    ensure!(told.len() == 2, "{} ends told of it", told.len());
    Ok(told)
}

/// The round-trip time and retransmissions of one end, which have to be TCP_INFO's.
fn of(info: &TcpInfo, seen: &Observation) -> Result<(Rtt, u64)> {
    let mut rows = seen.sockets.values();
    let row = rows
        .find(|row| row.cookie == info.cookie)
        .with_context(|| format!("no row for {info:?}"))?;
    let (rtt, retransmits) = (row.rtt.context("no RTT")?, row.retransmits);
    let micros = |duration: Option<Duration>| duration.map(|one| one.as_micros());
    let expected = [info.rtt_us, info.variation_us, info.min_rtt_us];
    let reported = [Some(rtt.smoothed), rtt.variation, rtt.minimum].map(micros);
    ensure!(
        reported == expected.map(|one| Some(one.into())),
        "{rtt:?}, TCP_INFO {info:?}"
    );
    ensure!(
        retransmits == Some(info.retransmits),
        "{retransmits:?} retransmissions, TCP_INFO {info:?}"
    );
    Ok((rtt, info.retransmits))
}
