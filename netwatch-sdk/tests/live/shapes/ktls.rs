//! kTLS: the kernel encrypts; payload is what the process handed over.

use anyhow::Result;

use super::{
    splice::{from_socket, to_socket},
    stream,
};
use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all, send_all},
    counted::Counted,
    options,
    shape::Shape,
};

const TOTAL: usize = 300_007;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-ktls",
        about: "TCP under kernel TLS: the bytes that the process moved, not the records",
        serve: Some(serve),
        drive,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-ktls-one-way",
        about: "TCP under kernel TLS in one direction only",
        serve: Some(serve_one_way),
        drive: drive_one_way,
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-ktls-splice",
        about: "TCP under kernel TLS, written and read by splice",
        serve: Some(serve_spliced),
        drive: drive_spliced,
        ..Shape::BASE
    },
];

/// Directions that the kernel encrypts.
const TX: i32 = 1;
const RX: i32 = 2;

fn serve(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    encrypt(&socket, &[TX, RX])?;
    receive_all(calls::recv, &socket, TOTAL, 16_000)?;
    send_all(calls::send, &socket, 7_001, 7_001)?;
    actor.finish(&[&listener, &socket])
}

fn drive(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    encrypt(&socket, &[TX, RX])?;
    send_all(calls::send, &socket, TOTAL, 10_000)?;
    receive_all(calls::recv, &socket, 7_001, 7_001)?;
    actor.finish(&[&socket])
}

fn serve_one_way(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    encrypt(&socket, &[RX])?;
    receive_all(calls::recv, &socket, TOTAL, 16_000)?;
    send_all(calls::send, &socket, 7_001, 7_001)?;
    actor.finish(&[&listener, &socket])
}

fn drive_one_way(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    encrypt(&socket, &[TX])?;
    send_all(calls::send, &socket, TOTAL, 10_000)?;
    receive_all(calls::recv, &socket, 7_001, 7_001)?;
    actor.finish(&[&socket])
}

fn serve_spliced(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    encrypt(&socket, &[TX, RX])?;
    from_socket(&socket, TOTAL)?;
    actor.finish(&[&listener, &socket])
}

fn drive_spliced(actor: &Actor) -> Result<()> {
    let socket = stream::connect_one(actor)?;
    encrypt(&socket, &[TX, RX])?;
    to_socket(&socket, TOTAL)?;
    actor.finish(&[&socket])
}

/// The kernel's `struct tls12_crypto_info_aes_gcm_128`. Both directions use the
/// same key, which is no secret: this is loopback traffic of a test.
#[repr(C)]
#[derive(Clone, Copy)]
struct AesGcm128 {
    version: u16,
    cipher: u16,
    iv: [u8; 8],
    key: [u8; 16],
    salt: [u8; 4],
    sequence: [u8; 8],
}

fn encrypt(socket: &Counted, directions: &[i32]) -> Result<()> {
    const SOL_TLS: i32 = 282;
    const TCP_ULP: i32 = 31;
    let keys = AesGcm128 {
        version: 0x0303,
        cipher: 51,
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        sequence: [0; 8],
    };
    options::set_bytes(socket, libc::SOL_TCP, TCP_ULP, b"tls")
        .map_err(|error| unavailable("TCP_ULP tls", error))?;
    for direction in directions {
        options::set(socket, SOL_TLS, *direction, &keys)
            .map_err(|error| unavailable("TLS keys", error))?;
    }
    Ok(())
}
