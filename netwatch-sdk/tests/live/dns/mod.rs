//! DNS, seen in the kernel: every message once, at the right process.

mod events;
mod message;
pub(crate) mod parts;

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Builder, Intelligence, Reader,
    detect::{DnsAsker, DnsStatistics},
    wire::{AlertCategory, AlertSeverity, Snapshot},
};

use self::parts::{
    FAIL, FROM_53, MANY, MAPPED, NOISE, NX, PAGE, PLAIN, SHAPE, SILENT, SIX, SLOW, TUNNEL,
};
use crate::{
    actor::unavailable, director::Running, namespace::Namespace, netlink, observe, trial::alone,
};

pub(crate) fn trials() -> Vec<Trial> {
    // The figures are the whole host's.
    vec![
        alone(
            "dns-exact",
            "every query and response once, at its process, over every kind of socket",
            exact,
        ),
        alone(
            "dns-forwarder",
            "a query that a forwarder passes on counts once, its own count too",
            forwarder,
        ),
        alone(
            "dns-translated",
            "the same where the forwarder answers on another port behind a translation, as Docker's",
            translated,
        ),
        alone(
            "dns-noise",
            "10,000 messages that are hardly ever DNS are survived and counted",
            noise,
        ),
        alone(
            "dns-full",
            "room for 10 messages: what does not fit is counted",
            full,
        ),
        alone(
            "dns-relieved",
            "a ring buffer that nobody reads is emptied before it is full",
            relieved,
        ),
        alone(
            "dns-tunnel",
            "200 random names under one domain are found, and whose they are; a page's are not",
            tunnel,
        ),
        alone(
            "dns-events",
            "each message is one event, with its process, name, type, code and latency",
            events::exact,
        ),
        alone(
            "dns-events-full",
            "room for 10 messages: what is missing in the stream is counted exactly",
            events::full,
        ),
        alone(
            "dns-events-topics",
            "who asks for connections gets no DNS message, and the other way round",
            events::topics,
        ),
        alone(
            "dns-off",
            "without detectors a snapshot has neither alerts nor DNS figures",
            off,
        ),
    ]
}

/// A collector, and a network namespace with a DNS server.
struct Scene {
    reader: Reader,
    place: Namespace,
    server: Running,
    v4: SocketAddr,
    v6: SocketAddr,
    /// The same server, on an address that is not loopback's.
    elsewhere: SocketAddr,
}

impl Scene {
    fn new(settings: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let builder = settings(observe::exact()?);
        let reader = builder.start()?.reader();
        let place = Namespace::new()?;
        place.enter(|| netlink::address("lo", parts::ELSEWHERE.into(), 32))?;
        let mut server = Running::start(&SHAPE, "serve", &[], Some(&place))?;
        let [v4, v6, elsewhere] = server.ready()?[..] else {
            anyhow::bail!("not three addresses");
        };
        Ok(Self {
            reader,
            place,
            server,
            v4,
            v6,
            elsewhere,
        })
    }

    fn start(&self, role: &str, server: SocketAddr) -> Result<Running> {
        Running::start(&SHAPE, role, &[server], Some(&self.place))
    }

    fn snapshot(&mut self) -> Result<(Snapshot, Intelligence)> {
        let snapshot = self.reader.snapshot()?;
        let intelligence = self.reader.collector().intelligence()?;
        Ok((snapshot, intelligence.context("no detectors")?))
    }
}

/// A process's row; all zero when it asked nothing.
fn figures(intelligence: &Intelligence, process: &Running) -> Result<(u64, u64, u64, u64)> {
    let pid = process.pid();
    let of = |asker: &&DnsAsker| asker.pid.0 == pid;
    let Some(asker) = intelligence.dns_askers.iter().find(of) else {
        return Ok((0, 0, 0, 0));
    };
    let told = process.truth.processes.iter().find(|one| one.pid == pid);
    if let Some(told) = told {
        ensure!(asker.name == told.name, "{asker:?} is {}", told.name);
    }
    Ok((asker.queries, asker.forwarded, asker.responses, asker.nxdomain))
}

/// The host's own lookups, which go on meanwhile.
fn others(intelligence: &Intelligence, ours: &[u32]) -> (u64, u64) {
    let theirs = intelligence.dns_askers.iter();
    let theirs = theirs.filter(|asker| !ours.contains(&asker.pid.0));
    theirs.fold((0, 0), |(queries, responses), asker| {
        (queries + asker.queries, responses + asker.responses)
    })
}

fn dns(intelligence: &Intelligence) -> Result<&DnsStatistics> {
    intelligence.dns.as_ref().context("no DNS figures")
}

fn exact() -> Result<()> {
    let mut scene = Scene::new(|builder| builder)?;
    let mapped = match scene.v4 {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => anyhow::bail!("not the IPv4 address"),
    };
    let (v4, v6) = (scene.v4, scene.v6);
    let roles = [
        ("drive", v4, PLAIN, 0),
        ("v6", v6, SIX, 0),
        ("mapped", mapped, MAPPED, 0),
        ("mapped-to", mapped, MAPPED, 0),
        ("port-53", v4, FROM_53, 0),
        ("nx", v6, NX, NX),
        ("fail", v4, FAIL, 0),
        ("slow", v6, SLOW, 0),
    ];
    let started = roles.map(|(role, server, ..)| scene.start(role, server));
    let mut running = started.into_iter().collect::<Result<Vec<_>>>()?;
    for process in &mut running {
        process.done()?;
    }
    let (snapshot, found) = scene.snapshot()?;
    let mut total = 0;
    for ((role, _, queries, nxdomain), process) in roles.iter().zip(&running) {
        let count = u64::from(*queries);
        let expected = (count, 0, count, u64::from(*nxdomain));
        let reported = figures(&found, process)?;
        ensure!(reported == expected, "{role}: {reported:?}, not {expected:?}");
        total += count;
    }
    let ours: Vec<u32> = running.iter().map(Running::pid).collect();
    let (queries, responses) = others(&found, &ours);
    let dns = dns(&found)?;
    ensure!(
        (dns.queries - queries, dns.responses - responses) == (total, total),
        "{dns:?}, the host's own: {queries} and {responses}"
    );
    ensure!(dns.rcodes[2] >= u64::from(FAIL), "{:?}", dns.rcodes);
    ensure!(
        dns.latency_buckets.iter().sum::<u64>() + dns.unmatched == dns.responses,
        "{dns:?}"
    );
    let slow: u64 = dns.latency_buckets[4..].iter().sum();
    ensure!(slow >= u64::from(SLOW), "{:?}", dns.latency_buckets);
    ensure!((dns.repeated, dns.malformed) == (0, 0), "{dns:?}");
    let wire = snapshot.dns_analytics.context("no DNS figures")?;
    ensure!(wire.total_queries >= total && wire.nxdomain_count >= u64::from(NX), "{wire:?}");
    let six = ("six.test".to_owned(), u32::from(SIX));
    ensure!(wire.top_domains.contains(&six), "{wire:?}");
    for process in &mut running {
        process.release()?;
    }
    scene.server.release()
}

fn forwarder() -> Result<()> {
    let scene = Scene::new(|builder| builder)?;
    let mut forwarder = scene.start("forward", scene.v4)?;
    let stub = *forwarder.ready()?.first().context("no address")?;
    forwarded(scene, forwarder, stub, ("nx", NX, NX))
}

/// As Docker does it: clients ask 127.0.0.11, and the packet filter sends that to the port
/// that the forwarder listens on.
fn translated() -> Result<()> {
    let scene = Scene::new(|builder| builder)?;
    let mut forwarder = scene.start("forward-translated", scene.elsewhere)?;
    let listens = *forwarder.ready()?.first().context("no address")?;
    let stub = SocketAddr::from(([127, 0, 0, 11], 53));
    let rules = format!(
        "add table ip nat
         add chain ip nat output {{ type nat hook output priority -100; }}
         add rule ip nat output ip daddr {} udp dport {} dnat to {listens}",
        stub.ip(),
        stub.port(),
    );
    let mut nft = Command::new("nft");
    nft.arg(rules);
    scene.place.place(&mut nft)?;
    let output = nft.output().map_err(|error| unavailable("nft", error))?;
    if !output.status.success() {
        return Err(unavailable("nft", String::from_utf8_lossy(&output.stderr)));
    }
    forwarded(scene, forwarder, stub, ("fail", FAIL, 0))
}

/// Two clients ask a forwarder; `other` is the second, how much it asks, and how many
/// names there are not.
fn forwarded(
    mut scene: Scene,
    mut forwarder: Running,
    stub: SocketAddr,
    other: (&str, u16, u16),
) -> Result<()> {
    let (role, count, nxdomain) = other;
    let mut client = scene.start("drive", stub)?;
    client.done()?;
    let mut second = scene.start(role, stub)?;
    second.done()?;
    // Its last question of its own may still be on its way.
    let answered = |found: &Intelligence| figures(found, &forwarder).map(|(_, _, count, _)| count);
    let all = u64::from(PLAIN + count);
    let mut found = scene.snapshot()?.1;
    for _ in 0..200 {
        if answered(&found)? == all {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        found = scene.snapshot()?.1;
    }
    let expected = (u64::from(PLAIN), 0, u64::from(PLAIN), 0);
    ensure!(figures(&found, &client)? == expected, "{:?}", found.dns_askers);
    let expected = (u64::from(count), 0, u64::from(count), u64::from(nxdomain));
    ensure!(figures(&found, &second)? == expected, "{:?}", found.dns_askers);
    // It passed each on, and asked one of its own for each.
    ensure!(
        figures(&found, &forwarder)? == (all, all, all, 0),
        "{:?}",
        found.dns_askers
    );
    let dns = dns(&found)?;
    ensure!(
        (dns.forwarded_queries, dns.forwarded_responses) == (all, all),
        "{dns:?}"
    );
    client.release()?;
    second.release()?;
    forwarder.release()?;
    scene.server.release()
}

fn noise() -> Result<()> {
    let mut scene = Scene::new(|builder| builder.dns_buffer_bytes(16 << 20))?;
    let mut process = scene.start("noise", scene.v4)?;
    process.done()?;
    let found = scene.snapshot()?.1;
    let dns = dns(&found)?;
    let (queries, responses) = others(&found, &[process.pid()]);
    let seen = dns.malformed + dns.other + dns.repeated + dns.queries + dns.responses;
    ensure!(
        seen - queries - responses == NOISE as u64,
        "{seen} of {NOISE} messages: {dns:?}"
    );
    ensure!(dns.malformed > NOISE as u64 / 2, "{dns:?}");
    let lost = scene.reader.collector().status().lost;
    ensure!(lost.dns_messages == 0, "{lost:?}");
    process.release()?;
    scene.server.release()
}

fn full() -> Result<()> {
    let mut scene = Scene::new(|builder| builder.dns_buffer_bytes(4_096))?;
    let mut process = scene.start("silent", scene.v4)?;
    process.done()?;
    let found = scene.snapshot()?.1;
    let (seen, ..) = figures(&found, &process)?;
    let lost = scene.reader.collector().status().lost.dns_messages;
    // A thread takes them out as fast as it can, which is not fast enough.
    ensure!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    ensure!(seen + lost == u64::from(SILENT), "{seen} seen, {lost} lost");
    process.release()?;
    scene.server.release()
}

fn relieved() -> Result<()> {
    // Room for 1,390 messages; 6,000 come without a reading in between.
    let mut scene = Scene::new(|builder| builder.dns_buffer_bytes(512 << 10))?;
    let mut process = scene.start("many", scene.v6)?;
    process.done()?;
    let found = scene.snapshot()?.1;
    let expected = (u64::from(MANY), 0, u64::from(MANY), 0);
    ensure!(
        figures(&found, &process)? == expected,
        "{:?}",
        found.dns_askers
    );
    let lost = scene.reader.collector().status().lost;
    ensure!(lost.dns_messages == 0, "{lost:?}");
    process.release()?;
    scene.server.release()
}

fn tunnel() -> Result<()> {
    let mut scene = Scene::new(|builder| builder)?;
    let mut page = scene.start("page", scene.v4)?;
    page.done()?;
    let alerts = scene.snapshot()?.0.alerts.context("no alerts")?;
    let tunnels = alerts.iter().filter(|alert| alert.category == AlertCategory::DnsTunnel);
    ensure!(tunnels.count() == 0, "{alerts:?}");
    let mut process = scene.start("tunnel", scene.v6)?;
    process.done()?;
    let (snapshot, found) = scene.snapshot()?;
    ensure!(figures(&found, &process)?.0 == u64::from(TUNNEL), "{:?}", found.dns_askers);
    ensure!(figures(&found, &page)?.0 == u64::from(PAGE), "{:?}", found.dns_askers);
    let told = process.truth.processes.first().context("it told nothing")?;
    let expected = format!(
        "DNS tunnel suspected under exfil.test by {} (pid {})",
        told.name, told.pid
    );
    let alerts = snapshot.alerts.context("no alerts")?;
    let alert = alerts.iter().find(|alert| alert.message == expected);
    let alert = alert.with_context(|| format!("{alerts:?}"))?;
    ensure!(
        (alert.category, alert.severity) == (AlertCategory::DnsTunnel, AlertSeverity::Critical),
        "{alert:?}"
    );
    page.release()?;
    process.release()?;
    scene.server.release()
}

fn off() -> Result<()> {
    let settings = |builder: Builder| builder.without_detectors().dns_buffer_bytes(4_096);
    let mut scene = Scene::new(settings)?;
    // Nobody listens: no message takes room, or has none.
    let mut process = scene.start("silent", scene.v4)?;
    process.done()?;
    let snapshot = scene.reader.snapshot()?;
    ensure!(snapshot.alerts.is_none(), "{:?}", snapshot.alerts);
    ensure!(snapshot.dns_analytics.is_none(), "{:?}", snapshot.dns_analytics);
    let collector = scene.reader.collector();
    ensure!(collector.intelligence()?.is_none(), "it detects");
    ensure!(collector.status().lost.is_empty(), "{:?}", collector.status().lost);
    process.release()?;
    scene.server.release()
}
