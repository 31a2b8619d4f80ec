//! io_uring: bytes moved by the kernel on behalf of the process.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::stream;
use crate::{
    actor::{Actor, unavailable},
    calls::{self, receive_all, send_all},
    counted::{CALL_LIMIT, Counted},
    shape::Shape,
};

const TOTAL: usize = 1_000_007;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        stem: "tcp-ring",
        about: "TCP by io_uring send and recv",
        serve: Some(|actor| serve(actor, &mut plain()?)),
        drive: |actor| drive(actor, &mut plain()?, Send::Copied),
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-ring-polled",
        about: "TCP by io_uring with a kernel thread that polls the queue (SQPOLL)",
        serve: Some(|actor| serve(actor, &mut polled()?)),
        drive: |actor| drive(actor, &mut polled()?, Send::Copied),
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-ring-worker",
        about: "TCP by io_uring requests that its worker threads run (IOSQE_ASYNC)",
        serve: Some(|actor| serve(actor, &mut plain()?)),
        drive: |actor| drive(actor, &mut plain()?, Send::Worker),
        ..Shape::BASE
    },
    Shape {
        stem: "tcp-ring-zerocopy",
        about: "TCP by io_uring send_zc, whose notifications do not count",
        serve: Some(receive),
        drive: |actor| drive(actor, &mut plain()?, Send::ZeroCopy),
        ..Shape::BASE
    },
    Shape {
        stem: "udp-ring",
        about: "connected UDP by io_uring send and recv",
        serve: Some(echo),
        drive: datagrams,
        ..Shape::BASE
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Send {
    Copied,
    Worker,
    ZeroCopy,
}

fn plain() -> Result<IoUring> {
    IoUring::new(8).map_err(|error| unavailable("io_uring_setup", error))
}

fn polled() -> Result<IoUring> {
    const WHAT: &str = "io_uring_setup with SQPOLL";
    let ring = IoUring::builder().setup_sqpoll(50).build(8);
    let ring = ring.map_err(|error| unavailable(WHAT, error))?;
    if !ring.params().is_feature_sqpoll_nonfixed() {
        return Err(unavailable(WHAT, "of registered files only"));
    }
    Ok(ring)
}

fn receive(actor: &Actor) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    receive_all(calls::recv, &socket, TOTAL, 64 * 1024)?;
    send_all(calls::send, &socket, 5_003, 5_003)?;
    actor.finish(&[&listener, &socket])
}

fn serve(actor: &Actor, ring: &mut IoUring) -> Result<()> {
    let (listener, socket) = stream::accept_one(actor)?;
    ring_receive(ring, &socket, TOTAL, false)?;
    ring_send(ring, &socket, 5_003, Send::Copied)?;
    actor.finish(&[&listener, &socket])
}

fn drive(actor: &Actor, ring: &mut IoUring, how: Send) -> Result<()> {
    if how == Send::ZeroCopy {
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::SendZc::CODE) {
            return Err(unavailable("io_uring send_zc", "this kernel has none"));
        }
    }
    let socket = stream::connect_one(actor)?;
    ring_send(ring, &socket, TOTAL, how)?;
    ring_receive(ring, &socket, 5_003, how == Send::Worker)?;
    actor.finish(&[&socket])
}

fn echo(actor: &Actor) -> Result<()> {
    let server = super::datagram::bind_one(actor)?;
    let mut buffer = [0; 2_000];
    for _ in 0..100 {
        let (size, from) = super::datagram::receive_from(&server, &mut buffer)?;
        super::datagram::send_to(&server, &buffer[..size], &from)?;
    }
    actor.finish(&[&server])
}

fn datagrams(actor: &Actor) -> Result<()> {
    let mut ring = plain()?;
    let client = super::datagram::connect_one(actor)?;
    for _ in 0..100 {
        ring_send(&mut ring, &client, 1_111, Send::Copied)?;
        ring_receive(&mut ring, &client, 1_111, false)?;
    }
    actor.finish(&[&client])
}

fn ring_send(ring: &mut IoUring, socket: &Counted, total: usize, how: Send) -> Result<()> {
    let bytes = calls::pattern(50_000);
    let mut left = total;
    while left > 0 {
        let fd = types::Fd(socket.raw());
        let size = left.min(bytes.len()) as u32;
        let entry = match how {
            Send::Copied => opcode::Send::new(fd, bytes.as_ptr(), size).build(),
            Send::Worker => opcode::Send::new(fd, bytes.as_ptr(), size)
                .build()
                .flags(squeue::Flags::ASYNC),
            Send::ZeroCopy => opcode::SendZc::new(fd, bytes.as_ptr(), size).build(),
        };
        // SAFETY: `bytes` outlives the request, whose last completion is waited for.
        let sent = unsafe { run(ring, &entry) }?;
        ensure!(sent > 0, "send took nothing");
        left -= socket.sent(sent);
    }
    Ok(())
}

fn ring_receive(ring: &mut IoUring, socket: &Counted, total: usize, worker: bool) -> Result<()> {
    let mut buffer = vec![0; 50_000];
    let mut left = total;
    while left > 0 {
        let size = left.min(buffer.len()) as u32;
        let mut entry =
            opcode::Recv::new(types::Fd(socket.raw()), buffer.as_mut_ptr(), size).build();
        if worker {
            entry = entry.flags(squeue::Flags::ASYNC);
        }
        // SAFETY: `buffer` outlives the request, whose completion is waited for.
        let received = unsafe { run(ring, &entry) }?;
        ensure!(received > 0, "the peer closed");
        left -= socket.received(received);
    }
    Ok(())
}

/// Runs one request to its last completion.
///
/// # Safety
/// The buffers in `entry` live until this returns.
unsafe fn run(ring: &mut IoUring, entry: &squeue::Entry) -> Result<usize> {
    // SAFETY: the caller keeps the buffers; the queue is empty between requests.
    unsafe { ring.submission().push(entry) }?;
    ring.submit()?;
    let started = Instant::now();
    let mut result = None;
    let mut last = false;
    while started.elapsed() < CALL_LIMIT {
        for completion in ring.completion() {
            last |= !cqueue::more(completion.flags());
            if !cqueue::notif(completion.flags()) {
                result = Some(completion.result());
            }
        }
        if let (Some(result), true) = (result, last) {
            let error = || std::io::Error::from_raw_os_error(-result);
            return usize::try_from(result).map_err(|_| error().into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    bail!("io_uring did not complete in {CALL_LIMIT:?}")
}
