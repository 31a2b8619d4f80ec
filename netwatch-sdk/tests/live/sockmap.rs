//! Sockets in a sockmap, with programs of a few instructions.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::Result;
use nix::errno::Errno;

use crate::actor::unavailable;

/// What becomes of a message that a socket of the map sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message<'a> {
    /// It goes its way.
    Pass,
    /// It is sent by the first socket of another map.
    Redirect(&'a SockMap),
    /// The first socket of another map receives it, and no packet is sent.
    Deliver(&'a SockMap),
}

/// Sockets that go by the programs of their map.
#[derive(Debug)]
pub(crate) struct SockMap(OwnedFd);

impl SockMap {
    /// An empty map.
    pub(crate) fn new() -> Result<Self> {
        const SOCKMAP: u32 = 15;
        const SOCKETS: u32 = 4;
        let fd = bpf(0, &[SOCKMAP, 4, 4, SOCKETS, 0]);
        let fd = fd.map_err(|error| unavailable("a sockmap", error))?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The sockets' messages pass a program.
    pub(crate) fn with_messages(self, message: Message<'_>) -> Result<Self> {
        const SK_MSG: u32 = 16;
        const SK_MSG_VERDICT: u32 = 7;
        const INGRESS: u64 = 1;
        match message {
            Message::Pass => self.attach(SK_MSG, SK_MSG_VERDICT, &PASS)?,
            Message::Redirect(to) => self.attach(SK_MSG, SK_MSG_VERDICT, &redirect(to, 0))?,
            Message::Deliver(to) => self.attach(SK_MSG, SK_MSG_VERDICT, &redirect(to, INGRESS))?,
        }
        Ok(self)
    }

    /// What arrives for the sockets passes two programs.
    pub(crate) fn with_streams(self) -> Result<Self> {
        const SK_SKB: u32 = 14;
        const SK_SKB_STREAM_PARSER: u32 = 4;
        const SK_SKB_STREAM_VERDICT: u32 = 5;
        // r0 = the packet's length; exit
        self.attach(SK_SKB, SK_SKB_STREAM_PARSER, &[0x1061, 0x95])?;
        self.attach(SK_SKB, SK_SKB_STREAM_VERDICT, &PASS)?;
        Ok(self)
    }

    fn attach(&self, kind: u32, at: u32, instructions: &[u64]) -> Result<()> {
        let license = c"GPL";
        let [code, license] = [instructions.as_ptr() as u64, license.as_ptr() as u64];
        let program = bpf(
            5,
            &[
                kind,
                u32::try_from(instructions.len())?,
                code as u32,
                (code >> 32) as u32,
                license as u32,
                (license >> 32) as u32,
                0,
                0,
            ],
        );
        let program = program.map_err(|error| unavailable("a program of a sockmap", error))?;
        // SAFETY: the kernel just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let attached = bpf(8, &[self.raw(), program.as_raw_fd().cast_unsigned(), at, 0]);
        attached.map_err(|error| unavailable("attach to a sockmap", error))?;
        Ok(())
    }

    /// Takes a connected socket.
    pub(crate) fn insert(&self, key: u32, socket: &impl AsFd) -> Result<()> {
        let value = socket.as_fd().as_raw_fd().cast_unsigned();
        let [at, what] = [&raw const key as u64, &raw const value as u64];
        let done = bpf(
            2,
            &[
                self.raw(),
                0,
                at as u32,
                (at >> 32) as u32,
                what as u32,
                (what >> 32) as u32,
                0,
                0,
            ],
        );
        done.map_err(|error| unavailable("a socket into a sockmap", error))?;
        Ok(())
    }

    fn raw(&self) -> u32 {
        self.0.as_raw_fd().cast_unsigned()
    }
}

/// r0 = SK_PASS; exit
const PASS: [u64; 2] = [0x1_0000_00b7, 0x95];

/// r2 = the map; r3 = key 0; r4 = flags; call bpf_msg_redirect_map; exit
fn redirect(to: &SockMap, flags: u64) -> [u64; 6] {
    [
        u64::from(to.raw()) << 32 | 0x1218,
        0,
        0x3b7,
        flags << 32 | 0x4b7,
        60 << 32 | 0x85,
        0x95,
    ]
}

/// `bpf(2)`: what it takes is numbers of 32 bits and, in two of them, of 64.
fn bpf(command: i32, attributes: &[u32]) -> io::Result<i32> {
    let mut padded = [0u64; 16];
    for (at, number) in attributes.iter().enumerate() {
        padded[at / 2] |= u64::from(*number) << (32 * (at % 2));
    }
    // SAFETY: the attributes are readable for the size given, and so is what they point to.
    let result = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            padded.as_ptr(),
            size_of_val(attributes),
        )
    })?;
    i32::try_from(result).map_err(io::Error::other)
}
