//! Processes and connections that are gone before anyone looks.

use anyhow::Result;

use crate::{
    actor::{Actor, report, tell},
    calls::{self, receive_rest, send_all},
    counted::Counted,
    family, programs,
    shape::Shape,
    truth::Event,
};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-short-processes",
        about: "400 forked processes (50 in a virtual machine) with names of their own, one short TCP connection each",
        serve: Some(answer_many),
        drive: forked,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-short-programs",
        about: "400 programs (50 in a virtual machine), one short TCP connection each",
        serve: Some(answer_many),
        drive: programs,
        more: &[("one", one)],
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-short-connections",
        about: "400 short TCP connections (50 in a virtual machine) of one process",
        serve: Some(answer_many),
        drive: connections,
        ..Shape::BASE
    },
    Shape {
        stem: "udp-short-processes",
        about: "400 forked processes (50 in a virtual machine) that send one UDP datagram each",
        serve: Some(collect_datagrams),
        drive: forked_datagrams,
        ..Shape::BASE
    },
];

/// How many of each. Starting processes is slow under emulation.
pub(crate) fn count() -> usize {
    if std::env::var_os("NETWATCH_VM").is_some() {
        50
    } else {
        400
    }
}

const ANSWER: usize = 223;

/// Every one has a size of its own.
const fn size(at: usize) -> usize {
    500 + at * 7
}

fn answer_many(actor: &Actor) -> Result<()> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    for _ in 0..count() {
        let socket = listener.accept()?;
        receive_rest(calls::recv, &socket)?;
        send_all(calls::send, &socket, ANSWER, ANSWER)?;
        let moved = socket.moved()?;
        drop(socket);
        tell(&Event::Moved(moved))?;
    }
    actor.finish(&[&listener])
}

/// Connects, asks, reads the answer, closes.
fn ask(actor: &Actor, at: usize) -> Result<Counted> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    socket.connect(actor.peer()?)?;
    send_all(calls::send, &socket, size(at), 600)?;
    socket.shutdown()?;
    receive_rest(calls::recv, &socket)?;
    Ok(socket)
}

fn connections(actor: &Actor) -> Result<()> {
    for at in 0..count() {
        let socket = ask(actor, at)?;
        let moved = socket.moved()?;
        drop(socket);
        tell(&Event::Moved(moved))?;
    }
    actor.finish(&[])
}

fn forked(actor: &Actor) -> Result<()> {
    family::expect(count())?;
    for at in 0..count() {
        let child = family::spawn(|| {
            family::rename_thread(&format!("brief-{at}"))?;
            let socket = ask(actor, at)?;
            report(&[&socket], false)
        })?;
        family::wait_all(&[child])?;
    }
    actor.finish(&[])
}

fn programs(actor: &Actor) -> Result<()> {
    family::expect(count())?;
    let peer = actor.peer()?.to_string();
    for at in 0..count() {
        let name = format!("program-{at}");
        let mut command = programs::workload(&name, &actor.shape.name(), "one")?;
        let mut child = programs::start(command.args([peer.clone(), at.to_string()]))?;
        let ended = child.wait()?;
        anyhow::ensure!(ended.success(), "{name}: {ended}");
    }
    actor.finish(&[])
}

fn one(actor: &Actor) -> Result<()> {
    let at = usize::try_from(actor.inherited.first().copied().unwrap_or(0))?;
    let socket = ask(actor, at)?;
    report(&[&socket], false)
}

fn collect_datagrams(actor: &Actor) -> Result<()> {
    let server = super::datagram::bind_one(actor)?;
    for _ in 0..count() {
        let (_, from) = super::datagram::receive_from(&server, &mut [0; 8_192])?;
        super::datagram::send_to(&server, &[0; 3], &from)?;
    }
    actor.finish(&[&server])
}

fn forked_datagrams(actor: &Actor) -> Result<()> {
    family::expect(count())?;
    for at in 0..count() {
        let child = family::spawn(|| {
            family::rename_thread(&format!("datagram-{at}"))?;
            let socket = super::datagram::connect_one(actor)?;
            calls::send(&socket, &mut calls::pattern(size(at)))?;
            calls::recv(&socket, &mut [0; 8])?;
            report(&[&socket], false)
        })?;
        family::wait_all(&[child])?;
    }
    actor.finish(&[])
}
