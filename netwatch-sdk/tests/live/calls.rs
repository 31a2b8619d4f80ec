//! The calls that move bytes, each with one signature. All count what they returned.

use std::{
    io::{IoSlice, IoSliceMut},
    mem, ptr,
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::{
        socket::{self, MsgFlags, SockaddrStorage},
        uio,
    },
    unistd,
};

use crate::counted::Counted;

/// Moves bytes between a buffer and a socket, and returns how many.
pub(crate) type Mover = fn(&Counted, &mut [u8]) -> nix::Result<usize>;

pub(crate) fn send(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let sent = socket::send(socket.raw(), buffer, MsgFlags::MSG_NOSIGNAL)?;
    Ok(socket.sent(sent))
}

pub(crate) fn recv(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let received = socket::recv(socket.raw(), buffer, MsgFlags::empty())?;
    Ok(socket.received(received))
}

pub(crate) fn write(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    Ok(socket.sent(unistd::write(socket, buffer)?))
}

pub(crate) fn read(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    Ok(socket.received(unistd::read(socket, buffer)?))
}

/// Three pieces, the middle one empty.
pub(crate) fn writev(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let (left, right) = buffer.split_at(buffer.len() / 3);
    let pieces = [IoSlice::new(left), IoSlice::new(&[]), IoSlice::new(right)];
    Ok(socket.sent(uio::writev(socket, &pieces)?))
}

pub(crate) fn readv(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let (left, right) = buffer.split_at_mut(buffer.len() / 3);
    let mut pieces = [IoSliceMut::new(left), IoSliceMut::new(right)];
    Ok(socket.received(uio::readv(socket, &mut pieces)?))
}

pub(crate) fn sendmsg(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let (left, right) = buffer.split_at(buffer.len() / 2);
    let pieces = [IoSlice::new(left), IoSlice::new(right)];
    let sent = socket::sendmsg::<()>(socket.raw(), &pieces, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(socket.sent(sent))
}

pub(crate) fn recvmsg(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    let (left, right) = buffer.split_at_mut(buffer.len() / 2);
    let mut pieces = [IoSliceMut::new(left), IoSliceMut::new(right)];
    let message =
        socket::recvmsg::<SockaddrStorage>(socket.raw(), &mut pieces, None, MsgFlags::empty())?;
    Ok(socket.received(message.bytes))
}

/// Messages in one call of [`sendmmsg`] and [`recvmmsg`].
pub(crate) const BATCH: usize = 8;

/// The buffer as [`BATCH`] messages in one call.
pub(crate) fn sendmmsg(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    batch(buffer, |headers| {
        // SAFETY: headers and the pieces they point to live until the call returns.
        Errno::result(unsafe {
            libc::sendmmsg(
                socket.raw(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_NOSIGNAL as _,
            )
        })
    })
    .map(|sent| socket.sent(sent))
}

/// Up to [`BATCH`] messages in one call.
pub(crate) fn recvmmsg(socket: &Counted, buffer: &mut [u8]) -> nix::Result<usize> {
    batch(buffer, |headers| {
        // SAFETY: headers and the pieces they point to live until the call returns.
        Errno::result(unsafe {
            libc::recvmmsg(
                socket.raw(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        })
    })
    .map(|received| socket.received(received))
}

fn batch(
    buffer: &mut [u8],
    call: impl FnOnce(&mut [libc::mmsghdr]) -> nix::Result<i32>,
) -> nix::Result<usize> {
    let size = buffer.len().div_ceil(BATCH).max(1);
    let mut pieces: Vec<libc::iovec> = buffer
        .chunks_mut(size)
        .map(|chunk| libc::iovec {
            iov_base: chunk.as_mut_ptr().cast(),
            iov_len: chunk.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = pieces
        .iter_mut()
        .map(|piece| {
            // SAFETY: all zero is a valid header: no address, no control data.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    let done = call(&mut headers)?;
    let done = headers.iter().take(done.unsigned_abs() as usize);
    Ok(done.map(|header| header.msg_len as usize).sum())
}

/// Sends `total` bytes in buffers of `size`, whatever each call takes.
pub(crate) fn send_all(call: Mover, socket: &Counted, total: usize, size: usize) -> Result<()> {
    let mut buffer = pattern(size);
    let mut left = total;
    while left > 0 {
        let piece = size.min(left);
        let sent = call(socket, &mut buffer[..piece])
            .with_context(|| format!("sending, {left} of {total} bytes left"))?;
        ensure!(sent > 0, "a send call took nothing, {left} bytes left");
        left -= sent;
    }
    Ok(())
}

/// Receives exactly `total` bytes.
pub(crate) fn receive_all(call: Mover, socket: &Counted, total: usize, size: usize) -> Result<()> {
    let mut buffer = vec![0; size];
    let mut left = total;
    while left > 0 {
        let piece = size.min(left);
        let received = call(socket, &mut buffer[..piece])
            .with_context(|| format!("receiving, {left} of {total} bytes left"))?;
        ensure!(
            received > 0,
            "the peer closed, {left} of {total} bytes left"
        );
        left -= received;
    }
    Ok(())
}

/// Receives until the peer has closed its side.
pub(crate) fn receive_rest(call: Mover, socket: &Counted) -> Result<usize> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match call(socket, &mut buffer).context("receiving to the end")? {
            0 => return Ok(total),
            received => total += received,
        }
    }
}

/// Bytes that are not all the same.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}
