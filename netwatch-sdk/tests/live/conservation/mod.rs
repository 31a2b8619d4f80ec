//! Wire bytes: what the kernel programs measured is what went over the wire.
//!
//! Two network namespaces, joined by a pair of interfaces and by nothing else.
//! Three independent counts have to agree: the interfaces' own counters, a
//! packet socket on each end, and the sum over all rows of the collector.

mod capture;
mod ethtool;
mod pair;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::{
    director::Running,
    observe::{self, Observation, SeenSocket},
    quiet,
    shape::{self, Family},
    trial::trial,
    truth::Truth,
};
use capture::Tally;
pub(crate) use pair::Pair;
use pair::{Counted, End, Watch};

/// Whether one packet of the stack may be many on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offload {
    Off,
    On,
}

pub(crate) fn trials() -> Vec<Trial> {
    let cases = [
        (
            "conservation-offload-off",
            "with segmentation offload off, rows and interface counters agree to the byte",
            Offload::Off,
            "conserve",
        ),
        (
            "conservation-offload-on",
            "with segmentation offload on, they differ by the headers of the extra segments",
            Offload::On,
            "conserve",
        ),
        (
            "conservation-udp-segment",
            "the same for datagrams that the kernel cuts apart (UDP_SEGMENT)",
            Offload::On,
            "conserve-segments",
        ),
    ];
    let conservation = |(name, about, offload, stem): (&'static str, _, _, _)| {
        trial(name, about, move || {
            let _quiet = quiet::among_others();
            run(offload, stem)
        })
    };
    cases.map(conservation).into()
}

fn run(offload: Offload, stem: &str) -> Result<()> {
    let pair = Pair::new(offload)?;
    let before = observe::shared()?.read()?;
    let (left, right) = (pair.left.watch()?, pair.right.watch()?);
    let mut truths = Vec::new();
    let mut running = Vec::new();
    for family in [Family::V4, Family::V6] {
        let (client, server, truth) = talk(&pair, stem, family)?;
        truths.push(truth);
        running.push((client, server));
    }
    let seen = observe::shared()?.read()?.since(&before);
    let settled = settle(&pair, &left, &right, offload);
    // Why a packet socket saw less comes first.
    left.capture.finish()?;
    right.capture.finish()?;
    let (on_left, on_right) = settled?;
    for end in [&on_left, &on_right] {
        ensure!(
            end.tally.sent.wire_bytes > 1_000_000,
            "hardly any traffic"
        );
        let extra = end.tally.sent.extra_headers();
        // Switched off, the kernel cuts packets apart before the interface sees them.
        ensure!(
            (extra > 0) == (offload == Offload::On),
            "{extra} bytes of extra headers"
        );
    }
    check_rows("left", &pair.left, (&on_left, &on_right), &seen)?;
    check_rows("right", &pair.right, (&on_right, &on_left), &seen)?;
    for truth in &truths {
        check_processes(truth, &seen)?;
    }
    for (mut client, mut server) in running {
        client.release()?;
        server.release()?;
    }
    Ok(())
}

/// Waits until the packet sockets have seen every packet that the interfaces
/// counted. The kernel's own packets (multicast reports) can come at any time.
pub(crate) fn settle(
    pair: &Pair,
    left: &Watch,
    right: &Watch,
    offload: Offload,
) -> Result<(Counted, Counted)> {
    let started = Instant::now();
    loop {
        let (on_left, on_right) = (pair.left.counted(left)?, pair.right.counted(right)?);
        let checked = check_counters(&pair.left, &on_left, offload)
            .and_then(|()| check_counters(&pair.right, &on_right, offload))
            .and_then(|()| check_wire(&on_left.tally, &on_right.tally));
        match checked {
            Ok(()) => return Ok((on_left, on_right)),
            Err(error) if started.elapsed() > Duration::from_secs(5) => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A client on the left, a server on the right; both stay.
pub(crate) fn talk(pair: &Pair, stem: &str, family: Family) -> Result<(Running, Running, Truth)> {
    let name = match family {
        Family::V6 => format!("{stem}-v6"),
        _ => format!("{stem}-v4"),
    };
    let shape = shape::named(&name).with_context(|| format!("no shape {name}"))?;
    let mut server = Running::start(shape, "serve", &[], Some(&pair.right.namespace))?;
    let mut peers = server.ready()?;
    for peer in &mut peers {
        peer.set_ip(pair.right.address(family));
    }
    let mut client = Running::start(shape, "drive", &peers, Some(&pair.left.namespace))?;
    client.done()?;
    server.done()?;
    let mut truth = client.truth.clone();
    truth.add_all(server.truth.clone());
    crate::director::cross_check(shape, &truth)?;
    Ok((client, server, truth))
}

/// The packet socket saw every packet that the interface counted.
fn check_counters(end: &End, counted: &Counted, offload: Offload) -> Result<()> {
    let Counted { counters, tally } = counted;
    let name = end.name;
    ensure!(counters.lost == 0, "{name} dropped packets: {counters:?}");
    ensure!(
        (counters.tx_packets, counters.tx_bytes) == (tally.sent.frames, tally.sent.frame_bytes),
        "{name} sent {} packets of {} bytes, the packet socket saw {:?}",
        counters.tx_packets,
        counters.tx_bytes,
        tally.sent
    );
    // With GRO the kernel merges received packets before a packet socket sees them.
    let received = (tally.received.frames, tally.received.frame_bytes);
    ensure!(
        offload == Offload::On || (counters.rx_packets, counters.rx_bytes) == received,
        "{name} received {} packets of {} bytes, the packet socket saw {:?}",
        counters.rx_packets,
        counters.rx_bytes,
        tally.received
    );
    Ok(())
}

/// What one end sent, segment by segment, is what the other received.
fn check_wire(left: &Tally, right: &Tally) -> Result<()> {
    for (from, to) in [(left, right), (right, left)] {
        ensure!(
            from.sent.wire_bytes == to.received.wire_bytes
                && from.sent.segments == to.received.segments,
            "sent {:?}, received {:?}",
            from.sent,
            to.received
        );
    }
    Ok(())
}

/// The rows of all TCP and UDP sockets of one end add up to its interface's counters.
pub(crate) fn check_rows(
    side: &str,
    end: &End,
    (here, peer): (&Counted, &Counted),
    seen: &Observation,
) -> Result<()> {
    let Counted { counters, tally } = here;
    let (mut tx, mut rx, mut tx_packets, mut rx_packets) = (0, 0, 0, 0);
    let of_end = |row: &&SeenSocket| {
        row.netns == Some(end.namespace.inode) && [6, 17].contains(&row.protocol)
    };
    let rows: Vec<&SeenSocket> = seen.sockets.values().filter(of_end).collect();
    for row in &rows {
        let wire = row.wire.context("a row without wire bytes")?;
        tx += wire.tx_bytes;
        rx += wire.rx_bytes;
        tx_packets += wire.tx_packets;
        rx_packets += wire.rx_packets;
        let loopback = wire.loopback_tx_bytes + wire.loopback_rx_bytes;
        ensure!(
            loopback == 0,
            "{loopback} bytes of {row:?} were taken for loopback's"
        );
        check_connection(row, tally)?;
    }
    // From the interface's counters alone: less link headers, less what belongs
    // to no socket, plus the headers that offloaded segments get on the wire.
    let (sent, arrived) = (&tally.sent, &peer.tally.sent);
    let (unseen_packets, unseen_bytes) = match sees_syn_acks_v6() {
        true => (0, 0),
        false => sent.syn_acks_v6,
    };
    let expected = counters.tx_bytes - sent.link_headers() - sent.other_bytes
        + sent.extra_headers()
        - unseen_bytes;
    ensure!(
        tx == expected,
        "{side}: rows sent {tx} bytes, the interface {expected}: {rows:#?}"
    );
    // What the other interface sent is what came in here, before GRO merges any.
    let expected = peer.counters.tx_bytes - arrived.link_headers() - arrived.other_bytes
        + arrived.extra_headers();
    ensure!(
        rx == expected,
        "{side}: rows received {rx} bytes, the other interface sent {expected}: {rows:#?}"
    );
    ensure!(
        (tx_packets + unseen_packets, rx_packets) == (sent.segments, arrived.segments),
        "{side}: rows have {tx_packets} packets sent and {rx_packets} received, the wire {} and {}",
        sent.segments,
        arrived.segments
    );
    Ok(())
}

/// Whether the kernel's egress hook is run for a listener's SYN-ACKs over IPv6: since Linux 6.6.
fn sees_syn_acks_v6() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    (number(), number()) >= (Some(6), Some(6))
}

/// A connected socket's row against the packets with its addresses. An accepted
/// socket shares them with its listener, which answered the SYN.
fn check_connection(row: &SeenSocket, tally: &Tally) -> Result<()> {
    use crate::truth::Way;
    let (Some(remote), Some(wire)) = (row.remote, row.wire) else {
        return Ok(());
    };
    if row.way == Way::Incoming {
        return Ok(());
    }
    let flow = |counts: &capture::Counts, from, to| {
        let bytes = counts.flows.get(&(row.protocol, from, to));
        bytes.copied().unwrap_or(0)
    };
    let tx = flow(&tally.sent, row.local, remote);
    let rx = flow(&tally.received, remote, row.local);
    ensure!(
        (wire.tx_bytes, wire.rx_bytes) == (tx, rx),
        "{} to {remote}: {wire:?}, on the wire {tx} sent and {rx} received",
        row.local
    );
    Ok(())
}

/// A process's wire bytes are those of its sockets, and its payload is exact.
fn check_processes(truth: &Truth, seen: &Observation) -> Result<()> {
    for process in &truth.processes {
        let who = (process.pid, Some(process.started_ticks));
        let row = seen.processes.get(&who).context("no row for a process")?;
        let wire = row.wire.context("a process without wire bytes")?;
        let owned = seen.sockets.values().filter(|one| one.owner == Some(who));
        let sum = owned
            .filter_map(|one| one.wire)
            .fold((0, 0), |(tx, rx), wire| {
                (tx + wire.tx_bytes, rx + wire.rx_bytes)
            });
        let name = &process.name;
        ensure!(
            sum == (wire.tx_bytes, wire.rx_bytes),
            "{name}: {wire:?}, its sockets {sum:?}"
        );
        let payload = (row.payload.tx_bytes, row.payload.rx_bytes);
        ensure!(
            payload == truth.of(process.pid),
            "{name}: payload {payload:?}, moved {:?}", truth.of(process.pid)
        );
        ensure!(
            wire.tx_bytes > payload.0 && wire.rx_bytes > payload.1,
            "{name}: {wire:?} for payload {payload:?}"
        );
    }
    Ok(())
}
