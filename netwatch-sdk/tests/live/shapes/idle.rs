//! Sockets that move nothing.

use anyhow::Result;

use crate::{actor::Actor, counted::Counted, shape::Shape};

pub(super) const SHAPES: &[Shape] = &[Shape {
    stem: "idle-sockets",
    about: "1,000 idle sockets: 400 TCP connections with both ends, 200 bound UDP sockets",
    serve: Some(accept_all),
    drive: connect_all,
    ..Shape::BASE
}];

const CONNECTIONS: usize = 400;
const DATAGRAM: usize = 200;

fn accept_all(actor: &Actor) -> Result<()> {
    let listener = Counted::listening(actor.shape.family)?;
    actor.ready(&[&listener])?;
    let mut sockets = vec![listener];
    for _ in 0..CONNECTIONS {
        let accepted = sockets[0].accept()?;
        sockets.push(accepted);
    }
    actor.finish(&sockets.iter().collect::<Vec<_>>())
}

fn connect_all(actor: &Actor) -> Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut socket = Counted::tcp(actor.shape.family)?;
        socket.connect(actor.peer()?)?;
        sockets.push(socket);
    }
    for _ in 0..DATAGRAM {
        let socket = Counted::udp(actor.shape.family)?;
        socket.bind_served(actor.shape.family)?;
        sockets.push(socket);
    }
    actor.finish(&sockets.iter().collect::<Vec<_>>())
}
