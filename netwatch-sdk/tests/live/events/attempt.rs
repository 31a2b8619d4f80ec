//! What a traffic process knows of its connections, and what the events say of them.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netwatch_sdk::{
    Collector, Events,
    event::{Change, ConnectionEvent, Event, Side},
    reading::{Attribution, Direction, Protocol},
};
use serde::{Deserialize, Serialize};

use crate::{
    observe::who,
    truth::{ProcessTruth, Truth},
};

/// A connection as the process at one end of it saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Whose events are to name it; of an accepted one, all but `opened` and `established`.
    pub(crate) pid: u32,
    /// Whose these two are to name.
    pub(crate) opened_by: u32,
    pub(crate) cookie: u64,
    pub(crate) udp: bool,
    pub(crate) incoming: bool,
    /// Its events in order: `reset/local`, `refused(111)`, …
    pub(crate) story: String,
    /// `None` where the kernel forgets it before anyone can ask.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: SocketAddr,
    pub(crate) tx: u64,
    pub(crate) rx: u64,
}

/// What a subscriber got.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) connections: HashMap<u64, Vec<Arc<ConnectionEvent>>>,
    pub(super) events: Vec<Arc<ConnectionEvent>>,
    pub(super) lost: u64,
}

impl Heard {
    /// Takes what comes until `enough`, at most so long.
    pub(super) fn listen(
        &mut self,
        events: &mut Events,
        at_most: Duration,
        mut enough: impl FnMut(&Self) -> bool,
    ) {
        let deadline = Instant::now() + at_most;
        while !enough(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.next_within(left) {
                Some(Event::Connection(event)) => {
                    let id = event.id.0;
                    self.connections.entry(id).or_default().push(event.clone());
                    self.events.push(event);
                }
                Some(Event::Lost(lost)) => self.lost += lost.events,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Listens until every connection of the truth has all its events, and a little longer.
    pub(super) fn listen_for(&mut self, events: &mut Events, truth: &Truth) {
        let expected: usize = truth.attempts.iter().map(length).sum();
        let cookies: HashSet<u64> = truth.attempts.iter().map(|one| one.cookie).collect();
        let (mut seen, mut ours) = (0, 0);
        self.listen(events, Duration::from_secs(20), |heard| {
            let new = heard.events.iter().skip(seen);
            ours += new.filter(|event| cookies.contains(&event.id.0)).count();
            seen = heard.events.len();
            ours >= expected
        });
        self.listen(events, Duration::from_millis(300), |_| false);
    }

    /// Fails unless the events are exactly those that the processes know of, see [`allow_missed`].
    pub(super) fn check(&self, collector: &Collector, truth: &Truth) -> Result<()> {
        let maps = collector.status().maps;
        let in_table = maps.iter().any(|map| map.name == "SOCKET_TABLE");
        ensure!(self.lost == 0, "{} events are lost", self.lost);
        let processes: HashMap<u32, &ProcessTruth> = truth
            .processes
            .iter()
            .map(|one| (one.pid, one))
            .collect();
        let mut known = HashSet::new();
        let mut differ = Vec::new();
        for attempt in &truth.attempts {
            known.insert(attempt.cookie);
            let none = Vec::new();
            let events = self.connections.get(&attempt.cookie).unwrap_or(&none);
            let same = check(attempt, events, &processes, in_table);
            differ.extend(same.err().map(|error| error.context(format!("{attempt:?}: {events:#?}"))));
        }
        allow_missed(collector, differ)?;
        for event in &self.events {
            if let Attribution::Process(id) = event.process
                && processes.contains_key(&id.pid.0)
            {
                ensure!(known.contains(&event.id.0), "nobody knows of {event:?}");
            }
        }
        Ok(())
    }
}

/// Fails when more connections differ than runs of programs were missed: of one run, what one
/// connection did can be missing, and the status says so.
pub(super) fn allow_missed(collector: &Collector, differ: Vec<anyhow::Error>) -> Result<()> {
    let missed = collector.reader().read()?.lost.missed_runs;
    let count = differ.len();
    let Some(first) = differ.into_iter().next() else {
        return Ok(());
    };
    if count as u64 > missed {
        return Err(first.context(format!("{count} connections differ, {missed} runs were missed")));
    }
    let limits = collector.status().limits;
    ensure!(limits.iter().any(|limit| limit.contains("events")), "{limits:?}");
    eprintln!("{count} connections differ, {missed} runs were missed: {first:#}");
    Ok(())
}

fn length(attempt: &Attempt) -> usize {
    attempt.story.split(' ').count()
}

fn story(events: &[Arc<ConnectionEvent>]) -> String {
    let word = |event: &Arc<ConnectionEvent>| {
        let mut word = event.change.name().to_owned();
        if let Some(side) = event.reset_by {
            word += match side {
                Side::Local => "/local",
                Side::Remote => "/remote",
            };
        }
        if let Some(errno) = event.errno {
            word += &format!("({errno})");
        }
        word
    };
    events.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn check(
    attempt: &Attempt,
    events: &[Arc<ConnectionEvent>],
    processes: &HashMap<u32, &ProcessTruth>,
    in_table: bool,
) -> Result<()> {
    ensure!(story(events) == attempt.story, "{}", story(events));
    let mut before = None;
    for event in events {
        let change = event.change;
        let pid = match change {
            Change::Opened | Change::Established => attempt.opened_by,
            _ => attempt.pid,
        };
        let process = processes.get(&pid);
        let process = process.context("the process did not report")?;
        let is_unused = attempt.tx + attempt.rx == 0
            || matches!(change, Change::Opened | Change::Established);
        if in_table && attempt.incoming && !attempt.udp && is_unused {
            ensure!(
                event.process == Attribution::Unknown,
                "{:?}",
                event.process
            );
            continue;
        }
        let Attribution::Process(id) = event.process else {
            bail!("{change:?} is of {:?}", event.process);
        };
        ensure!(
            who(id) == (pid, Some(process.started_ticks)) && event.process_name == process.name,
            "{change:?} is of {id:?} {}, not {process:?}",
            event.process_name
        );
        ensure!(event.process_started_at.is_some(), "no start");
        ensure!(event.uid == process.uid, "uid {}", event.uid);
        ensure!(
            u64::from(event.netns.inode) == process.netns,
            "namespace {:?}",
            event.netns
        );
        let udp = event.protocol == Protocol::Udp;
        ensure!(udp == attempt.udp, "{}", event.protocol);
        let way = match attempt.incoming {
            true => Direction::Incoming,
            false => Direction::Outgoing,
        };
        ensure!(event.direction == Some(way), "{:?}", event.direction);
        ensure!(event.remote == attempt.remote, "to {}", event.remote);
        if change != Change::Opened || attempt.incoming || udp {
            ensure!(event.local.port() != 0, "from {}", event.local);
            ensure!(
                attempt.local.is_none_or(|local| local == event.local),
                "from {}",
                event.local
            );
        }
        ensure!(event.age.is_some(), "no age");
        ensure!(
            (event.change == Change::Opened) == (event.age == Some(Duration::ZERO)),
            "age {:?}",
            event.age
        );
        ensure!(event.retransmits.is_none() == udp, "retransmits");
        ensure!(
            change != Change::Established || event.rtt.is_some(),
            "no round-trip time"
        );
        ensure!(before.is_none_or(|before| before <= event.time), "time");
        before = Some(event.time);
    }
    let last = events.last().context("no event")?;
    ensure!(
        (last.payload.tx_bytes, last.payload.rx_bytes) == (attempt.tx, attempt.rx),
        "{:?}",
        last.payload
    );
    Ok(())
}
