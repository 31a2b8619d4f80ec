//! TCP_ZEROCOPY_RECEIVE: received pages are mapped into the process by a socket option.

use std::{io::IoSlice, num::NonZeroUsize, ptr::NonNull};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, splice, vmsplice},
    sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
    unistd,
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

/// Pages of its own memory, handed over whole by way of a pipe.
fn send(actor: &Actor) -> Result<()> {
    let mut socket = Counted::tcp(actor.shape.family)?;
    options::set(&socket, libc::SOL_TCP, libc::TCP_MAXSEG, &SEGMENT)?;
    socket.connect(actor.peer()?)?;
    let (from, into) = unistd::pipe()?;
    let size = NonZeroUsize::MIN.saturating_add(PAGE - 1);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let mut left = TOTAL;
    while left > 0 {
        // SAFETY: a new page at a place of the kernel's choice, never unmapped.
        let page = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }?;
        // SAFETY: the page is ours alone until it is handed over below.
        let page = unsafe { std::slice::from_raw_parts_mut(page.cast::<u8>().as_ptr(), PAGE) };
        page.copy_from_slice(&calls::pattern(PAGE));
        let piece = [IoSlice::new(&page[..PAGE.min(left)])];
        let mut piped = vmsplice(&into, &piece, SpliceFFlags::empty())?;
        left -= piped;
        while piped > 0 {
            let sent = splice(&from, None, &socket, None, piped, SpliceFFlags::empty())?;
            ensure!(sent > 0, "splice took nothing");
            piped -= socket.sent(sent);
        }
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
    let pages = unsafe { mmap(None, window, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &socket, 0) }
        .map_err(|error| unavailable("mmap of a TCP socket", error))?;
    let mut left = TOTAL;
    let mut mapped = 0;
    while left > 0 {
        let request = map_received(&socket, pages, left)?;
        mapped += socket.received(request.length as usize);
        left -= request.length as usize;
        if left > 0 && (request.recv_skip_hint > 0 || request.length == 0) {
            let hint = (request.recv_skip_hint as usize).clamp(1, left);
            left -= calls::recv(&socket, &mut vec![0; hint])?;
        }
    }
    // SAFETY: the mapping made above, and nothing reads it any more.
    unsafe { munmap(pages, WINDOW) }?;
    if mapped == 0 {
        return Err(unavailable("TCP_ZEROCOPY_RECEIVE", "the kernel mapped no page"));
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
