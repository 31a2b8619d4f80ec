//! TCP_ZEROCOPY_RECEIVE: received pages are mapped into the process by a socket option.

use std::{num::NonZeroUsize, os::fd::AsFd, ptr::NonNull};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        mman::{MapFlags, ProtFlags, mmap, munmap},
        socket::{self, MsgFlags},
    },
};

use crate::{
    actor::{Actor, unavailable},
    calls,
    counted::Counted,
    options,
    shape::Shape,
};

const PAGE: usize = 4096;
const WINDOW: usize = 64 * PAGE;
const TOTAL: usize = 300 * PAGE + 123;

pub(super) const SHAPES: &[Shape] = &[Shape {
    stem: "tcp-zerocopy-receive",
    about: "TCP received as mapped pages by TCP_ZEROCOPY_RECEIVE, the remainder by recv",
    serve: Some(receive),
    drive: send,
    ..Shape::BASE
}];

/// A page of payload and 12 bytes of timestamps: so pages stay whole on their way.
const SEGMENT: i32 = PAGE as i32 + 12;

/// MSG_ZEROCOPY, since loopback copies such bytes into single new pages, and
/// those alone can be mapped.
fn send(actor: &Actor) -> Result<()> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    options::set(&socket, libc::SOL_TCP, libc::TCP_MAXSEG, &SEGMENT)?;
    options::set(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1_i32)
        .map_err(|error| unavailable("SO_ZEROCOPY", error))?;
    socket.connect(actor.peer()?)?;
    let bytes = calls::pattern(TOTAL);
    let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
    let mut left = TOTAL;
    while left > 0 {
        let piece = &bytes[..left.min(4 * PAGE)];
        left -= socket.sent(socket::send(socket.raw(), piece, flags)?);
    }
    actor.finish(&[&socket])
}

fn receive(actor: &Actor) -> Result<()> {
    let listener = Counted::tcp(actor.shape.family)?;
    options::set(&listener, libc::SOL_TCP, libc::TCP_MAXSEG, &SEGMENT)?;
    listener.bind_served(actor.shape.family)?;
    let listener = listener.listen()?;
    actor.ready(&[&listener])?;
    let socket = listener.accept()?;
    let window = NonZeroUsize::MIN.saturating_add(WINDOW - 1);
    // SAFETY: a new mapping at a place of the kernel's choice; nothing else refers to it.
    let pages = unsafe {
        mmap(
            None,
            window,
            ProtFlags::PROT_READ,
            MapFlags::MAP_SHARED,
            &socket,
            0,
        )
    }
    .map_err(|error| unavailable("mmap of a TCP socket", error))?;
    let mut left = TOTAL;
    let mut mapped = 0;
    while left > 0 {
        // Whole pages only: one byte read in between would shift all that follow.
        let pending = i32::try_from(left.min(4 * PAGE))?;
        options::set(&socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &pending)?;
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        ensure!(
            poll(&mut waiting, PollTimeout::from(10_000_u16))? == 1,
            "{left} bytes left"
        );
        let request = map_received(&socket, pages, left)?;
        mapped += socket.received(request.length as usize);
        left -= request.length as usize;
        let copied = match left {
            rest if rest < PAGE => rest,
            rest => rest.min(request.recv_skip_hint as usize),
        };
        if copied > 0 {
            // The hint can be more than there is, and waiting for it would stall.
            let flags = MsgFlags::MSG_DONTWAIT;
            left -= match socket::recv(socket.raw(), &mut vec![0; copied], flags) {
                Ok(received) => socket.received(received),
                Err(Errno::EAGAIN) => 0,
                Err(error) => return Err(error.into()),
            };
        }
    }
    // SAFETY: the mapping made above, and nothing reads it any more.
    unsafe { munmap(pages, WINDOW) }?;
    if mapped == 0 {
        return Err(unavailable(
            "TCP_ZEROCOPY_RECEIVE",
            "the kernel mapped no page",
        ));
    }
    actor.finish(&[&listener, &socket])
}

/// The start of the kernel's `struct tcp_zerocopy_receive`, as of 4.19.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
}

fn map_received(socket: &Counted, pages: NonNull<libc::c_void>, left: usize) -> Result<Request> {
    let mut request = Request {
        address: pages.as_ptr() as u64,
        length: u32::try_from(left.min(WINDOW) / PAGE * PAGE)?,
        recv_skip_hint: 0,
    };
    if request.length == 0 {
        return Ok(request);
    }
    const TCP_ZEROCOPY_RECEIVE: i32 = 35;
    let mut size = size_of::<Request>() as libc::socklen_t;
    // SAFETY: request is writable for `size`, and its address is a mapping of this socket
    // that is as long as the request says.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.raw(),
            libc::SOL_TCP,
            TCP_ZEROCOPY_RECEIVE,
            (&raw mut request).cast(),
            &raw mut size,
        )
    })
    .map_err(|error| unavailable("TCP_ZEROCOPY_RECEIVE", error))?;
    Ok(request)
}
