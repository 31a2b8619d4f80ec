//! DNS messages in the stream of events.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netwatch_sdk::{
    Builder, Events,
    event::{DnsEvent, DnsMessageKind, Event, Topic},
    reading::Attribution,
};

use super::{
    Scene,
    parts::{DELAY, FAIL, FROM_53, MAPPED, NX, PLAIN, SILENT, SIX, SLOW},
};
use crate::director::Running;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a subscriber got.
#[derive(Debug, Default)]
struct Heard {
    /// By process.
    dns: HashMap<u32, Vec<Arc<DnsEvent>>>,
    connections: usize,
    lost: u64,
}

impl Heard {
    fn listen(&mut self, events: &mut Events, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.next_within(left) {
                Some(Event::Dns(event)) => {
                    let pid = match event.process {
                        Attribution::Process(id) => id.pid.0,
                        _ => 0,
                    };
                    self.dns.entry(pid).or_default().push(event);
                }
                Some(Event::Connection(_)) => self.connections += 1,
                Some(Event::Lost(lost)) => self.lost += lost.events,
                Some(_) | None => return,
            }
        }
    }

    fn of(&self, process: &Running) -> &[Arc<DnsEvent>] {
        self.dns.get(&process.pid()).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn exact() -> Result<()> {
    for with_readings in [false, true] {
        messages(with_readings).with_context(|| format!("with readings: {with_readings}"))?;
    }
    Ok(())
}

/// With readings, which take messages too, some of them come by those.
fn messages(with_readings: bool) -> Result<()> {
    let mut scene = Scene::new(|builder| {
        if with_readings {
            builder
        } else {
            builder.without_detectors()
        }
    })?;
    let (v4, v6) = (scene.v4, scene.v6);
    // Before anybody listens: these are no events.
    let mut before = scene.start("page", v4)?;
    before.done()?;
    let mut events = scene.reader.collector().events_of(&[Topic::Dns])?;
    let roles = [
        ("drive", v4, "plain", PLAIN, 0),
        ("v6", v6, "six", SIX, 0),
        ("port-53", v4, "fifty-three", FROM_53, 0),
        ("mapped-to", v4, "mapped-to", MAPPED, 0),
        ("nx", v6, "nx", NX, 3),
        ("fail", v4, "fail", FAIL, 2),
        ("slow", v6, "slow", SLOW, 0),
    ];
    let started = roles.map(|(role, server, ..)| scene.start(role, server));
    let mut running = started.into_iter().collect::<Result<Vec<_>>>()?;
    for process in &mut running {
        if with_readings {
            scene.reader.snapshot()?;
        }
        process.done()?;
    }
    let mut heard = Heard::default();
    let all = |heard: &Heard| {
        let counts = roles.iter().zip(&running);
        counts
            .into_iter()
            .all(|((.., count, _), process)| heard.of(process).len() >= 2 * usize::from(*count))
    };
    heard.listen(&mut events, all);
    ensure!(heard.lost == 0, "{} events are lost", heard.lost);
    ensure!(heard.connections == 0, "{} events of connections", heard.connections);
    ensure!(heard.of(&before).is_empty(), "{:?}", heard.of(&before));
    for ((role, server, kind, count, rcode), process) in roles.iter().zip(&running) {
        let told = process.truth.processes.first().context("it told nothing")?;
        let events = heard.of(process);
        ensure!(events.len() == 2 * usize::from(*count), "{role}: {} events", events.len());
        let (queries, answers): (Vec<_>, Vec<_>) = events
            .iter()
            .partition(|event| event.kind == DnsMessageKind::Query);
        for (way, messages) in [("query", &queries), ("answer", &answers)] {
            for (id, event) in (0..*count).zip(messages.iter()) {
                let name = format!("{kind}-{id}.{kind}.test");
                let found = (event.transaction, event.name.as_deref(), event.record_type);
                ensure!(
                    found == (Some(id), Some(name.as_str()), Some(1)),
                    "{role}, {way} {id}: {event:?}"
                );
                ensure!(event.remote == *server, "{role}: {event:?}, not to {server}");
                ensure!(event.process_name == told.name, "{event:?} is {}", told.name);
                ensure!(!event.forwards && event.opcode == Some(0), "{event:?}");
            }
        }
        for (query, answer) in queries.iter().zip(&answers) {
            ensure!(query.rcode.is_none() && query.latency.is_none(), "{query:?}");
            ensure!(answer.rcode == Some(*rcode), "{role}: {answer:?}");
            ensure!((query.id, query.local) == (answer.id, answer.local), "{query:?} {answer:?}");
            let latency = answer.latency.with_context(|| format!("{answer:?}"))?;
            let between = (answer.time - query.time).to_std()?;
            ensure!(latency.abs_diff(between) < Duration::from_millis(1), "{query:?} {answer:?}");
            ensure!(*role != "slow" || latency >= DELAY, "{answer:?}");
        }
    }
    before.release()?;
    for process in &mut running {
        process.release()?;
    }
    scene.server.release()
}

pub(super) fn full() -> Result<()> {
    let mut scene = Scene::new(|builder| builder.without_detectors().dns_buffer_bytes(4_096))?;
    let mut events = scene.reader.collector().events_of(&[Topic::Dns])?;
    let mut process = scene.start("silent", scene.v4)?;
    process.done()?;
    let mut heard = Heard::default();
    let all = u64::from(SILENT);
    heard.listen(&mut events, |heard| heard.of(&process).len() as u64 + heard.lost >= all);
    let seen = heard.of(&process).len() as u64;
    ensure!(seen > 0 && heard.lost > 0, "{seen} seen, {} lost", heard.lost);
    ensure!(seen + heard.lost == all, "{seen} seen, {} lost", heard.lost);
    scene.reader.read()?;
    let lost = scene.reader.collector().status().lost.dns_messages;
    ensure!(lost == heard.lost, "{} in the stream, {lost} in the status", heard.lost);
    process.release()?;
    scene.server.release()
}

pub(super) fn topics() -> Result<()> {
    let mut scene = Scene::new(Builder::without_detectors)?;
    let mut connections = scene.reader.collector().events_of(&[Topic::Connections])?;
    let mut all = scene.reader.collector().events()?;
    // Connected UDP sockets: connections of their own, besides the messages.
    let mut process = scene.start("drive", scene.v4)?;
    process.done()?;
    let expected = 2 * usize::from(PLAIN);
    let mut heard = Heard::default();
    heard.listen(&mut all, |heard| {
        heard.of(&process).len() >= expected && heard.connections > 0
    });
    ensure!(heard.of(&process).len() == expected, "{heard:?}");
    ensure!(heard.connections > 0 && heard.lost == 0, "{heard:?}");
    let mut only = Heard::default();
    thread::sleep(Duration::from_millis(50));
    while let Some(event) = connections.next_within(Duration::ZERO) {
        match event {
            Event::Connection(_) => only.connections += 1,
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(only.connections > 0, "no event of a connection");
    process.release()?;
    let without = crate::observe::exact()?.without_dns().start()?;
    let refused = without.events_of(&[Topic::Dns]);
    ensure!(refused.is_err(), "DNS messages are told by a collector without them");
    scene.server.release()
}
