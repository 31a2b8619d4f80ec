//! Lookups in DNS over loopback: what a message costs in the kernel, and what the
//! detectors cost afterwards.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
use netwatch_sdk::{
    Backend, Builder, Collector,
    event::{Event, Topic},
};

use crate::{
    clock,
    rounds::{self, Spread},
    table::Row,
};

/// Lookups of a round. All of their messages have room in the collector's buffer.
const LOOKUPS: u16 = 2_000;
/// Each is a query and a response.
const MESSAGES: f64 = 2.0 * LOOKUPS as f64;

/// A question for the address of a name of 18 bytes, recursion desired.
const QUESTION: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x04name\x07example\x04test\0\0\x01\0\x01";

pub(crate) fn messages(rounds: u16) -> Result<Vec<Row>> {
    let lookups = Lookups::new()?;
    lookups.run()?;
    let mut detecting = Vec::new();
    let mut without = || lookups.run();
    let mut packets = || {
        let _collector = start(|builder| builder.without_detectors().without_dns())?;
        lookups.run()
    };
    let mut detectors = || {
        let collector = start(|builder| builder)?;
        let reader = collector.reader();
        let used = lookups.run()?;
        let before = clock::thread()?;
        let found = collector.intelligence()?.context("no detectors")?;
        let after = clock::thread()?.saturating_sub(before);
        let seen = found.dns.context("no DNS figures")?.queries;
        anyhow::ensure!(seen >= u64::from(LOOKUPS), "{seen} of {LOOKUPS} queries");
        detecting.push(after.as_nanos() as f64 / MESSAGES);
        drop(reader);
        Ok(used)
    };
    let mut telling = Vec::new();
    let mut listening = || {
        let mut events = start(Builder::without_detectors)?.events_of(&[Topic::Dns])?;
        let before = clock::process()?;
        let used = lookups.run()?;
        let (mut told, mut lost) = (0, 0);
        while told + lost < MESSAGES as u64 {
            match events.next_within(Duration::from_secs(5)) {
                Some(Event::Lost(missing)) => lost += missing.events,
                Some(_) => told += 1,
                None => anyhow::bail!("{told} events, {lost} lost"),
            }
        }
        anyhow::ensure!(lost == 0, "{lost} events lost");
        let all = clock::process()?.saturating_sub(before);
        telling.push(all.saturating_sub(used).as_nanos() as f64 / MESSAGES);
        Ok(used)
    };
    let measured = rounds::turns(
        rounds,
        [&mut without, &mut packets, &mut detectors, &mut listening],
    )?;
    let a_message = |used: Duration| used.as_nanos() as f64 / MESSAGES;
    let more = |of: usize, than: usize| {
        Spread::of(measured.iter().filter_map(|sides| {
            let (of, than) = (sides.get(of)?, sides.get(than)?);
            Some(a_message(*of) - a_message(*than))
        }))
    };
    let alone = measured.iter().map(|[without, ..]| a_message(*without));
    Ok(vec![
        Row::new(
            "a DNS message over loopback, without the collector",
            "ns",
            Spread::of(alone)?,
        ),
        Row::new(
            "a DNS message, more with the collector and no detectors",
            "ns",
            more(1, 0)?,
        ),
        Row::new("a DNS message, more with detectors", "ns", more(2, 1)?),
        Row::new(
            "a DNS message, read and shown to the detectors",
            "ns",
            Spread::of(detecting)?,
        ),
        Row::new(
            "a DNS message, more with a subscriber of DNS events",
            "ns",
            more(3, 1)?,
        ),
        Row::new(
            "a DNS message, given to that subscriber",
            "ns",
            Spread::of(telling)?,
        ),
    ])
}

fn start(settings: impl FnOnce(Builder) -> Builder) -> Result<Collector> {
    let builder = Collector::builder().backend(Backend::Ebpf);
    Ok(settings(builder).start()?)
}

/// A client and a server in one thread.
struct Lookups {
    client: UdpSocket,
    server: UdpSocket,
}

impl Lookups {
    fn new() -> Result<Self> {
        let server = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 77), 53))?;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect(server.local_addr()?)?;
        Ok(Self { client, server })
    }

    /// The CPU time of a round.
    fn run(&self) -> Result<Duration> {
        let (mut query, mut buffer) = (QUESTION.to_vec(), [0; 512]);
        let before = clock::thread()?;
        for id in 0..LOOKUPS {
            if let Some(place) = query.get_mut(..2) {
                place.copy_from_slice(&id.to_be_bytes());
            }
            self.client.send(&query)?;
            let (length, client) = self.server.recv_from(&mut buffer)?;
            if let Some(flags) = buffer.get_mut(2) {
                *flags |= 0x80;
            }
            let answer = buffer.get(..length).context("too long")?;
            self.server.send_to(answer, client)?;
            self.client.recv(&mut buffer)?;
        }
        Ok(clock::thread()?.saturating_sub(before))
    }
}
