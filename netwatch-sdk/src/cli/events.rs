//! `netwatch-collector events`

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write},
};

use anyhow::Context as _;
use netwatch_sdk::{
    Backend, Collector,
    event::{Change, ConnectionEvent, DnsEvent, DnsMessageKind, Event, Lost, Topic},
    reading::{Attribution, Direction},
};

use super::{
    arguments::{CannotRun, Events},
    watch::{Interrupts, runtime},
};

/// Events written between two looks at signals.
const BATCH: usize = 1024;

pub(crate) fn run(options: &Events) -> anyhow::Result<()> {
    let mut builder = Collector::builder()
        .backend(Backend::Ebpf)
        .without_detectors()
        .event_buffer_bytes(options.buffer_mib.saturating_mul(1 << 20));
    if !options.only.is_empty() && !options.only.contains(&Topic::Dns) {
        builder = builder.without_dns();
    }
    let collector = builder.start().context(CannotRun)?;
    let events = match &options.only[..] {
        [] => collector.events(),
        topics => collector.events_of(topics),
    };
    let mut events = events.context(CannotRun)?.into_stream();
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut out = BufWriter::new(io::stdout().lock());
    runtime()?.block_on(async {
        let mut interrupts = Interrupts::new()?;
        while left > 0 {
            let mut next = tokio::select! {
                biased;
                () = interrupts.next() => break,
                event = events.next() => event,
            };
            if next.is_none() {
                anyhow::bail!("the kernel programs have stopped");
            }
            let mut batch = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
            while let Some(event) = next {
                if options.json {
                    serde_json::to_writer(&mut out, &event).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                } else {
                    writeln!(out, "{}", line(&event))?;
                }
                left -= 1;
                batch -= 1;
                next = if batch == 0 { None } else { events.try_next() };
            }
            out.flush()?;
        }
        Ok(())
    })
}

/// An event on one line, for people.
fn line(event: &Event) -> String {
    match event {
        Event::Connection(event) => connection(event),
        Event::Dns(event) => dns(event),
        Event::Lost(Lost { time, events, .. }) => {
            let time = time.format("%H:%M:%S%.6f");
            format!("{time} lost         {events} events: the buffer was full")
        }
        other => format!("{other:?}"),
    }
}

fn process(owner: Attribution, name: &str) -> String {
    match owner {
        Attribution::Process(id) => format!("{name}[{}]", id.pid),
        _ => name.to_owned(),
    }
}

/// The details are those of the JSON, which has the names of codes and types.
fn dns(event: &DnsEvent) -> String {
    let arrow = match event.kind {
        DnsMessageKind::Query => "->",
        _ => "<-",
    };
    let mut line = format!(
        "{} {:<12} {:<22} UDP {} {arrow} {}",
        event.time.format("%H:%M:%S%.6f"),
        event.kind.name(),
        process(event.process, &event.process_name),
        event.local,
        event.remote,
    );
    let told = serde_json::to_value(event).unwrap_or_default();
    for field in ["name", "record_type", "rcode"] {
        if let Some(text) = told.get(field).and_then(|value| value.as_str()) {
            line.push(' ');
            line.push_str(if text.is_empty() { "." } else { text });
        }
    }
    if let Some(latency) = event.latency {
        // Writing to a string cannot fail.
        let _ = write!(line, " after {latency:.1?}");
    }
    line
}

fn connection(event: &ConnectionEvent) -> String {
    let process = process(event.process, &event.process_name);
    let arrow = match event.direction {
        Some(Direction::Outgoing) => "->",
        Some(Direction::Incoming) => "<-",
        _ => "--",
    };
    let mut line = format!(
        "{} {:<12} {process:<22} {} {} {arrow} {}",
        event.time.format("%H:%M:%S%.6f"),
        event.change.name(),
        event.protocol,
        event.local,
        event.remote,
    );
    // Writing to a string cannot fail.
    let _ = details(&mut line, event);
    line
}

fn details(line: &mut String, event: &ConnectionEvent) -> std::fmt::Result {
    if let Some(side) = event.reset_by {
        write!(line, " by {}", side.name())?;
    }
    if let Some(errno) = event.errno
        && matches!(event.change, Change::Failed | Change::Unreachable)
    {
        write!(line, " ({})", io::Error::from_raw_os_error(errno))?;
    }
    if event.change == Change::Opened {
        return Ok(());
    }
    if event.payload.tx_bytes != 0 || event.payload.rx_bytes != 0 || event.change == Change::Closed
    {
        let payload = event.payload;
        write!(
            line,
            " {} B out {} B in",
            payload.tx_bytes, payload.rx_bytes
        )?;
    }
    if let Some(age) = event.age {
        write!(line, " after {age:.1?}")?;
    }
    if let Some(rtt) = event.rtt {
        write!(line, " rtt {:.1?}", rtt.smoothed)?;
    }
    match event.retransmits {
        None | Some(0) => Ok(()),
        Some(count) => write!(line, " {count} retransmits"),
    }
}
