//! A test of the hooks: a few bytes over loopback, which they have to count exactly.
//!
//! A program that is attached need not run: with kprobes disarmed or ftrace off it
//! never does. The kernel programs book what this thread moves meanwhile to
//! [`ProcessKey::TEST`], which is in no row and no total.

use std::{
    fs, io,
    io::{PipeReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    process,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapError},
};
use netwatch_common::{
    counters,
    process::{ProcessKey, ProcessRecord},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt::Linger},
    unistd::gettid,
};

use super::{
    causes,
    maps::{generic_map, set_counter},
    object::missing,
    refusal::refusal,
};
use crate::{Error, ErrorKind, Result, reading::Payload};

/// Loopback answers at once or never, but this thread may have to wait for a processor.
const PATIENCE: Duration = Duration::from_secs(1);

const RECORD: usize = size_of::<ProcessRecord>();

/// What a test came to, unless the hooks failed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every byte was counted.
    Passed,
    /// There was nothing to count, for this reason.
    NotPossible(String),
}

/// The kernel may skip a run (see `missed`), and bytes of an attempt can be booked in the next.
const ATTEMPTS: usize = 3;

/// Moves a few bytes and looks whether they were `counted`; if not all of them, again. About a
/// millisecond.
///
/// # Errors
///
/// When they were not, with the probable cause; and when a map cannot be used.
pub(super) fn run(ebpf: &mut Ebpf, counted: impl Fn(&Ebpf) -> Result<Payload>) -> Result<Outcome> {
    let Some(tester) = tester() else {
        return Ok(Outcome::NotPossible(
            "this process is in a pid namespace of its own (start it in the host's)".to_owned(),
        ));
    };
    let mut off = None;
    let mut failed = None;
    // A host may have one family only.
    for ip in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let first = counted(ebpf)?;
        let mut all_moved = Payload::default();
        for _ in 0..ATTEMPTS {
            let before = counted(ebpf)?;
            set_counter(ebpf, counters::TESTER, tester)?;
            let moved = traffic(ip);
            set_counter(ebpf, counters::TESTER, 0)?;
            let moved = match moved {
                Ok(moved) => moved,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            all_moved.rx_bytes += moved.rx_bytes;
            all_moved.tx_bytes += moved.tx_bytes;
            let after = counted(ebpf)?;
            let seen = since(after, before);
            if seen == moved || since(after, first) == all_moved {
                return Ok(Outcome::Passed);
            }
            off = Some((seen, moved));
        }
        if off.is_some() {
            break;
        }
    }
    let Some((seen, moved)) = off else {
        let why = failed.map(|error| error.to_string()).unwrap_or_default();
        return Ok(Outcome::NotPossible(format!(
            "nothing goes over loopback here ({why})"
        )));
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "attached, but of a test over loopback it counted {} of {} bytes sent and {} of {} \
             received: {}",
            seen.tx_bytes,
            moved.tx_bytes,
            seen.rx_bytes,
            moved.rx_bytes,
            causes::of_silence()
        ),
    ))
}

fn since(after: Payload, before: Payload) -> Payload {
    Payload {
        rx_bytes: after.rx_bytes.wrapping_sub(before.rx_bytes),
        tx_bytes: after.tx_bytes.wrapping_sub(before.tx_bytes),
    }
}

/// This thread as kernel programs see it; `None` where it cannot be told.
fn tester() -> Option<u64> {
    if !is_in_initial_pid_namespace() {
        return None;
    }
    let thread = u32::try_from(gettid().as_raw()).ok()?;
    Some(u64::from(process::id()) << 32 | u64::from(thread))
}

/// `true` unless pids are others here than in the kernel programs.
pub(super) fn is_in_initial_pid_namespace() -> bool {
    /// `PROC_PID_INIT_INO`
    const INITIAL: u64 = 0xeffffffc;
    let namespace = fs::metadata("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace.ino() == INITIAL)
}

/// Takes the test's place in `PROCESSES`, before others can fill it.
pub(super) fn make_room(ebpf: &mut Ebpf) -> Result<()> {
    let failed = |error| refusal("PROCESSES cannot be written", &error);
    let map = ebpf
        .map_mut("PROCESSES")
        .ok_or_else(|| missing("PROCESSES"))?;
    let mut map = BpfHashMap::<_, [u8; 16], [u8; RECORD]>::try_from(map).map_err(failed)?;
    let (key, record) = (ProcessKey::TEST, ProcessRecord::default());
    let (key, record): ([u8; 16], [u8; RECORD]) =
        (zerocopy::transmute!(key), zerocopy::transmute!(record));
    map.insert(key, record, 0).map_err(failed)
}

/// What `PROCESSES` has of all tests.
pub(super) fn booked(ebpf: &Ebpf) -> Result<Payload> {
    let failed = |error| Error::new(ErrorKind::Io, "PROCESSES cannot be read").because(error);
    let map = generic_map(ebpf, "PROCESSES")?;
    let map = BpfHashMap::<_, [u8; 16], [u8; RECORD]>::try_from(map).map_err(failed)?;
    match map.get(&zerocopy::transmute!(ProcessKey::TEST), 0) {
        Ok(record) => {
            let record: ProcessRecord = zerocopy::transmute!(record);
            Ok(Payload {
                rx_bytes: record.rx_bytes,
                tx_bytes: record.tx_bytes,
            })
        }
        Err(MapError::KeyNotFound) => Ok(Payload::default()),
        Err(error) => Err(failed(error)),
    }
}

/// Sends and receives by TCP and UDP, and returns how much. It returns when the sockets are
/// closed everywhere: bytes are booked at the last close, and a fork that another thread
/// makes meanwhile holds them open until it starts another program.
fn traffic(ip: IpAddr) -> io::Result<Payload> {
    // Whoever holds a socket of the test holds this too.
    let (watch, witness) = io::pipe()?;
    let moved = exchange(SocketAddr::new(ip, 0));
    drop(witness);
    wait_for_close(&watch);
    moved
}

/// Waits until the other end is closed, but not for a fork that lives on.
fn wait_for_close(watch: &PipeReader) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut closed = [PollFd::new(watch.as_fd(), PollFlags::empty())];
        if poll(&mut closed, left) != Err(Errno::EINTR) {
            return;
        }
    }
}

fn exchange(any: SocketAddr) -> io::Result<Payload> {
    let mut moved = Payload::default();
    stream(any, &mut moved)?;
    datagrams(any, &mut moved)?;
    Ok(moved)
}

const REQUEST: [u8; 64] = [0; 64];
const REPLY: [u8; 24] = [0; 24];

fn add(moved: &mut Payload, bytes: usize) {
    moved.tx_bytes += bytes as u64;
    moved.rx_bytes += bytes as u64;
}

fn stream(any: SocketAddr, moved: &mut Payload) -> io::Result<()> {
    let listener = TcpListener::bind(any)?;
    listener.set_nonblocking(true)?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    leave_nothing(&client)?;
    let mut server = loop {
        let (accepted, from) = listener.accept()?;
        // Anyone may connect to a port.
        if from == client.local_addr()? {
            break accepted;
        }
    };
    server.set_nonblocking(false)?;
    leave_nothing(&server)?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    client.write_all(&REQUEST)?;
    server.read_exact(&mut [0; REQUEST.len()])?;
    add(moved, REQUEST.len());
    server.write_all(&REPLY)?;
    client.read_exact(&mut [0; REPLY.len()])?;
    add(moved, REPLY.len());
    Ok(())
}

/// Makes the end of a connection a reset, so that none waits in TIME-WAIT.
fn leave_nothing(socket: &impl AsFd) -> io::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(setsockopt(socket, Linger, &at_once)?)
}

fn datagrams(any: SocketAddr, moved: &mut Payload) -> io::Result<()> {
    let (client, server) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
    client.connect(server.local_addr()?)?;
    server.connect(client.local_addr()?)?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    client.send(&REQUEST)?;
    server.recv(&mut [0; REQUEST.len()])?;
    add(moved, REQUEST.len());
    server.send(&REPLY)?;
    client.recv(&mut [0; REPLY.len()])?;
    add(moved, REPLY.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_moves_the_same_both_ways() {
        let moved = traffic(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(moved.tx_bytes, moved.rx_bytes);
        assert_eq!(moved.tx_bytes, 2 * (REQUEST.len() + REPLY.len()) as u64);
    }
}
