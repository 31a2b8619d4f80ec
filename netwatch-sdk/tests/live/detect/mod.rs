//! The real thing between processes: scans, beacons, and what only looks like them.

mod closed_ports;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Builder, Reader,
    detect::{BandwidthThreshold, FailedConnectionsThreshold, Signal, Thresholds},
    wire::{Alert, AlertCategory, AlertSeverity},
};

use crate::{
    actor::{Actor, hold, report, tell},
    director::Running,
    namespace::Namespace,
    netlink,
    observe::exact,
    shape::Shape,
    trial::alone,
    truth::Event,
};

pub(crate) fn trials() -> Vec<Trial> {
    // Other tests connect to many ports.
    let mut trials = vec![
        alone(
            "detect-scan",
            "a scan of 100 closed ports is found once, with its process",
            scan,
        ),
        alone(
            "detect-scan-incoming",
            "a scan of 100 open ports from another host is found, and from whom",
            scan_incoming,
        ),
        alone(
            "detect-beacon",
            "a beacon with 5 % jitter is found, with its process",
            beacon,
        ),
        alone(
            "detect-page",
            "hundreds of connections to three ports are nothing",
            page,
        ),
        alone(
            "detect-failed",
            "30 refused connections are a finding when asked for, and no alert",
            failed,
        ),
        alone(
            "detect-bandwidth",
            "a rate above the threshold in two samples is an alert",
            bandwidth,
        ),
    ];
    trials.extend(closed_ports::trials());
    trials
}

/// No traffic shape, so it is in no table.
pub(crate) const SHAPE: Shape = Shape {
    stem: "detect",
    about: "clients that a detector looks at",
    serve: Some(listen),
    drive: knock,
    more: &[
        ("ports", ports),
        ("call", call),
        ("browse", browse),
        ("send", send),
        ("datagrams", closed_ports::datagrams),
        ("many-datagrams", closed_ports::many_datagrams),
        ("half-open", closed_ports::half_open),
        ("stealth", closed_ports::stealth),
        ("backscatter", closed_ports::backscatter),
        ("persist", closed_ports::persist),
        ("late", closed_ports::late),
    ],
    ..Shape::BASE
};

const PORTS: u16 = 100;
const FIRST_PORT: u16 = 20_000;
/// The beacon's interval; the shortest that the detector looks at is half a second. In a
/// virtual machine, where a timer can be late by a tenth of a second, it is longer.
fn interval() -> Duration {
    Duration::from_millis(match std::env::var_os("NETWATCH_VM") {
        Some(_) => 2_000,
        None => 700,
    })
}
const CALLS: u32 = 9;

/// Connects to ports that nobody listens on.
fn knock(actor: &Actor) -> Result<()> {
    let host = actor.peer()?.ip();
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        let refused = TcpStream::connect((host, port)).map(drop);
        let kind = refused.err().map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "{port}: {kind:?}");
    }
    done()
}

/// Connects to all ports it is given.
fn ports(actor: &Actor) -> Result<()> {
    for address in &actor.peers {
        drop(TcpStream::connect(address)?);
    }
    done()
}

/// Calls home, 5 % early or late.
fn call(actor: &Actor) -> Result<()> {
    let home = actor.peer()?;
    for n in 0..CALLS {
        drop(TcpStream::connect(home)?);
        // -1, -0.5, 0, 0.5, 1 in an order that is no pattern.
        let off = f64::from((n * 3 + 1) % 5) / 2.0 - 1.0;
        thread::sleep(interval().mul_f64(1.0 + 0.05 * off));
    }
    done()
}

/// Connects many times at once to a few ports, as a page does.
fn browse(actor: &Actor) -> Result<()> {
    for _ in 0..100 {
        for address in &actor.peers {
            drop(TcpStream::connect(address)?);
        }
    }
    done()
}

/// Sends for three seconds and a half.
fn send(actor: &Actor) -> Result<()> {
    let listener = TcpListener::bind((actor.peer()?.ip(), 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut other, _) = listener.accept()?;
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while other.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let started = Instant::now();
    let buffer = vec![0; 64 << 10];
    while started.elapsed() < Duration::from_millis(3_500) {
        stream.write_all(&buffer)?;
        thread::sleep(Duration::from_millis(2));
    }
    drop(stream);
    reader.join().map_err(|_| anyhow::anyhow!("panicked"))?;
    done()
}

/// Listens on many ports, and accepts.
fn listen(_: &Actor) -> Result<()> {
    let mut addresses = Vec::new();
    for _ in 0..PORTS {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        addresses.push(listener.local_addr()?);
        thread::spawn(move || for stream in listener.incoming() { drop(stream) });
    }
    // In one line, and a line of a pipe is at most 4,096 bytes.
    for some in addresses.chunks(50) {
        tell(&Event::Ready { addresses: some.to_vec() })?;
    }
    hold()
}

fn done() -> Result<()> {
    report(&[], true)?;
    hold()
}

fn reader(settings: impl FnOnce(Builder) -> Builder) -> Result<Reader> {
    let builder = settings(exact()?);
    let mut reader = builder.start()?.reader();
    reader.snapshot()?;
    Ok(reader)
}

fn alerts(reader: &mut Reader, category: AlertCategory) -> Result<Vec<Alert>> {
    let alerts = reader.snapshot()?.alerts.context("no alerts")?;
    Ok(alerts.into_iter().filter(|alert| alert.category == category).collect())
}

/// Events are given on within milliseconds.
fn wait_for(reader: &mut Reader, category: AlertCategory) -> Result<Vec<Alert>> {
    let started = Instant::now();
    loop {
        let found = alerts(reader, category)?;
        if !found.is_empty() || started.elapsed() > Duration::from_secs(5) {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// ` by NAME (pid N)`
fn by(process: &Running) -> Result<String> {
    let told = process.truth.processes.first().context("it told nothing")?;
    Ok(format!(" by {} (pid {})", told.name, told.pid))
}

fn scan() -> Result<()> {
    let place = Namespace::new()?;
    let mut reader = reader(|builder| builder)?;
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut process = Running::start(&SHAPE, "drive", &[host], Some(&place))?;
    process.done()?;
    let found = wait_for(&mut reader, AlertCategory::PortScan)?;
    let expected = format!("Port scan from 127.0.0.1{}", by(&process)?);
    ensure!(found.len() == 1 && found[0].message == expected, "{found:?}, not {expected}");
    ensure!(found[0].severity == AlertSeverity::Critical, "{found:?}");
    process.release()
}

fn scan_incoming() -> Result<()> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    let (server, attacker) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    here.enter(|| {
        netlink::wire("scan0", "scan1", there.as_fd())?;
        netlink::address("scan0", server.into(), 24)?;
        netlink::up("scan0")
    })?;
    there.enter(|| {
        netlink::address("scan1", attacker.into(), 24)?;
        netlink::up("scan1")
    })?;
    let mut reader = reader(|builder| builder)?;
    let mut listener = Running::start(&SHAPE, "serve", &[], Some(&here))?;
    let mut open = listener.ready()?;
    open.extend(listener.ready()?);
    for address in &mut open {
        address.set_ip(server.into());
    }
    let mut process = Running::start(&SHAPE, "ports", &open, Some(&there))?;
    process.done()?;
    let found = wait_for(&mut reader, AlertCategory::PortScan)?;
    // Both ends are on this host, so the scanning process is known as well.
    let expected = format!("Port scan from {attacker}{}", by(&process)?);
    ensure!(found.len() == 1 && found[0].message == expected, "{found:?}, not {expected}");
    process.release()?;
    listener.release()
}

fn beacon() -> Result<()> {
    let place = Namespace::new()?;
    let mut reader = reader(|builder| builder)?;
    let mut listener = Running::start(&SHAPE, "serve", &[], Some(&place))?;
    let mut home = listener.ready()?[0];
    home.set_ip(Ipv4Addr::LOCALHOST.into());
    let mut process = Running::start(&SHAPE, "call", &[home], Some(&place))?;
    process.done()?;
    let found = wait_for(&mut reader, AlertCategory::Beaconing)?;
    let expected = format!("Regular connections from 127.0.0.1 to {home}{}", by(&process)?);
    ensure!(found.len() == 1 && found[0].message == expected, "{found:?}, not {expected}");
    ensure!(found[0].severity == AlertSeverity::Warning, "{found:?}");
    process.release()?;
    listener.release()
}

fn page() -> Result<()> {
    let place = Namespace::new()?;
    let mut reader = reader(|builder| builder)?;
    let mut listener = Running::start(&SHAPE, "serve", &[], Some(&place))?;
    let mut sites = listener.ready()?;
    sites.truncate(3);
    for address in &mut sites {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut process = Running::start(&SHAPE, "browse", &sites, Some(&place))?;
    process.done()?;
    thread::sleep(Duration::from_millis(200));
    let found = reader.snapshot()?.alerts.context("no alerts")?;
    ensure!(found.is_empty(), "{found:?}");
    process.release()?;
    listener.release()
}

fn failed() -> Result<()> {
    let place = Namespace::new()?;
    let mut reader = reader(|builder| {
        builder.detectors(Thresholds {
            port_scan: None,
            failed_connections: Some(FailedConnectionsThreshold::default()),
            ..Thresholds::default()
        })
    })?;
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut process = Running::start(&SHAPE, "drive", &[host], Some(&place))?;
    process.done()?;
    thread::sleep(Duration::from_millis(200));
    let found = reader.snapshot()?.alerts.context("no alerts")?;
    ensure!(found.is_empty(), "{found:?}");
    let found = reader.collector().intelligence()?.context("no detectors")?;
    let [finding] = &found.findings[..] else {
        anyhow::bail!("{:?}", found.findings);
    };
    ensure!(finding.finding.signal == Signal::FailedConnections, "{finding:?}");
    ensure!(finding.finding.message.contains(&by(&process)?), "{finding:?}");
    process.release()
}

fn bandwidth() -> Result<()> {
    let mut reader = reader(|builder| {
        builder.detectors(Thresholds {
            bandwidth: Some(BandwidthThreshold {
                bytes_per_second: 1_000_000,
                ..BandwidthThreshold::default()
            }),
            ..Thresholds::default()
        })
    })?;
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut process = Running::start(&SHAPE, "send", &[host], None)?;
    let mut found = Vec::new();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(1_050));
        found = alerts(&mut reader, AlertCategory::Bandwidth)?;
    }
    process.done()?;
    let lo = found.iter().find(|alert| alert.message == "lo above 1.0 MB/s");
    ensure!(lo.is_some(), "{found:?}");
    process.release()
}
