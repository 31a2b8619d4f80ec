//! Processes that wait for the test between their steps. Driven by tests of
//! their own, not by the run over all shapes.

use anyhow::Result;

use super::stream;
use crate::{
    actor::Actor,
    calls::{self, receive_all, send_all},
    counted::Counted,
    shape::{Family, Place, Shape},
};

const OLD: Shape = Shape {
    stem: "older-sockets",
    about: "sockets that moved bytes before the collector started and after, and idle ones",
    serve: Some(old_serve),
    drive: old_drive,
    ..Shape::BASE
};

pub(super) const SHAPES: &[Shape] = &[
    OLD,
    OLD.over(Family::V6),
    OLD.over(Family::Mapped),
    Shape {
        stem: "older-sockets-namespace",
        place: Place::Namespace,
        ..OLD
    },
    Shape {
        stem: "steps",
        about: "a process that moves known bytes in ten steps",
        serve: Some(steps_serve),
        drive: steps_drive,
        ..Shape::BASE
    },
];

/// Whether the shape waits for a test between its steps.
pub(super) fn is(shape: &Shape) -> bool {
    SHAPES.iter().any(|one| one.stem == shape.stem)
}

/// Moved before the collector starts.
const BEFORE: usize = 5_003;
/// Moved after it.
const AFTER: usize = 70_001;

fn old_serve(actor: &Actor) -> Result<()> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    let socket = listener.accept()?;
    let idle = listener.accept()?;
    receive_all(calls::recv, &idle, 1, 1)?;
    receive_all(calls::recv, &socket, BEFORE, BEFORE)?;
    actor.pause("old")?;
    let (listener, socket, idle) = (listener.restarted(), socket.restarted(), idle.restarted());
    receive_all(calls::recv, &socket, AFTER, 10_000)?;
    send_all(calls::send, &socket, 303, 303)?;
    actor.finish(&[&listener, &socket, &idle])
}

fn old_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    let idle = stream::connect_one(actor)?;
    let udp = Counted::udp(actor.shape.family)?;
    udp.bind_served(actor.shape.family)?;
    send_all(calls::send, &idle, 1, 1)?;
    send_all(calls::send, &socket, BEFORE, BEFORE)?;
    actor.pause("old")?;
    let (socket, idle) = (socket.restarted(), idle.restarted());
    send_all(calls::send, &socket, AFTER, 10_000)?;
    receive_all(calls::recv, &socket, 303, 303)?;
    actor.finish(&[&socket, &idle, &udp])
}

pub(crate) const STEPS: usize = 10;

/// Bytes that the driver sends in a step; the answer is a tenth.
pub(crate) const fn step_size(step: usize) -> usize {
    10_000 + step * 1_010
}

fn steps_serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    for step in 0..STEPS {
        receive_all(calls::recv, &socket, step_size(step), 4_000)?;
        send_all(calls::send, &socket, step_size(step) / 10, 500)?;
    }
    actor.finish(&[&listener, &socket])
}

fn steps_drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    for step in 0..STEPS {
        actor.pause("step")?;
        send_all(calls::send, &socket, step_size(step), 4_000)?;
        receive_all(calls::recv, &socket, step_size(step) / 10, 500)?;
    }
    actor.pause("end")?;
    actor.finish(&[&socket])
}
