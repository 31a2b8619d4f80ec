//! `lsof -F`: one field a line, the first byte says which.
//!
//! `p` begins a process, `f` a file of it. Linux's `lsof` leaves out `f` unless
//! asked, so `t` begins a file too when the one before has its name. What
//! follows a name (`T`, TCP's state and queues) still belongs to that file.

use std::borrow::Cow;

use super::{
    endpoint::{Endpoint, parse_endpoint},
    text,
};
use crate::{
    Result,
    reading::{Protocol, SocketState},
};

/// All that one run printed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lsof {
    /// In the order printed; a socket is there once for each descriptor.
    pub(crate) sockets: Vec<OpenSocket>,
    /// Lines that could not be read, and sockets without a readable name.
    pub(crate) unreadable: u64,
}

/// An internet socket that a process has open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpenSocket {
    /// Who has it open.
    pub(crate) pid: u32,
    /// The process's name, up to 32 bytes of it; `None` where not printed.
    pub(crate) command: Option<String>,
    /// The user the process runs as; `None` where not printed.
    pub(crate) uid: Option<u32>,
    /// The kernel's name for the socket, the same in every process that shares
    /// it; `None` where not printed.
    pub(crate) device: Option<String>,
    /// A socket of the IPv6 family; `None` where not printed.
    pub(crate) ipv6: Option<bool>,
    /// `None` where not printed.
    pub(crate) protocol: Option<Protocol>,
    /// This host's end.
    pub(crate) local: Endpoint,
    /// The other end; `None` when not connected.
    pub(crate) remote: Option<Endpoint>,
    /// `None` for UDP, and where not printed.
    pub(crate) state: Option<SocketState>,
}

/// Reads the output of `lsof -i -n -P -F`, which is empty when there is no socket.
///
/// # Errors
///
/// When there is output and no process in it.
pub(crate) fn parse_lsof(output: &[u8]) -> Result<Lsof> {
    let mut reader = Reader::default();
    for line in text::lines(output) {
        let mut letters = line.chars();
        let Some(letter) = letters.next() else {
            continue;
        };
        reader.field(letter, letters.as_str());
    }
    reader.end_file();
    if !reader.any_process && output.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(text::not_in_format("lsof", "process field", output));
    }
    Ok(reader.read)
}

#[derive(Default)]
struct Reader {
    read: Lsof,
    any_process: bool,
    /// `None` before the first, and after one whose pid could not be read.
    process: Option<Process>,
    file: File,
}

struct Process {
    pid: u32,
    command: Option<String>,
    uid: Option<u32>,
}

#[derive(Default)]
struct File {
    name: Option<String>,
    ipv6: Option<bool>,
    /// `true` once `t` says that it is no internet socket.
    other: bool,
    device: Option<String>,
    protocol: Option<Protocol>,
    state: Option<SocketState>,
}

impl Reader {
    fn field(&mut self, letter: char, value: &str) {
        let readable = match letter {
            'p' => {
                self.end_file();
                self.process = value.parse().ok().map(|pid| Process {
                    pid,
                    command: None,
                    uid: None,
                });
                self.any_process |= self.process.is_some();
                self.process.is_some()
            }
            'c' => {
                if let Some(process) = &mut self.process {
                    process.command = Some(unescape(value).into_owned());
                }
                true
            }
            'u' => {
                let uid = value.parse().ok();
                if let Some(process) = &mut self.process {
                    process.uid = uid;
                }
                uid.is_some()
            }
            'f' => {
                self.end_file();
                true
            }
            't' => {
                self.next_file_if_named();
                self.file.ipv6 = match value {
                    "IPv4" | "inet" => Some(false),
                    "IPv6" => Some(true),
                    _ => None,
                };
                self.file.other = self.file.ipv6.is_none();
                true
            }
            'd' => {
                self.file.device = Some(value.to_owned());
                true
            }
            'P' => {
                self.next_file_if_named();
                self.file.protocol = match value {
                    "TCP" => Some(Protocol::Tcp),
                    "UDP" => Some(Protocol::Udp),
                    _ => None,
                };
                self.file.other |= self.file.protocol.is_none();
                true
            }
            'n' => {
                self.next_file_if_named();
                self.file.name = Some(value.to_owned());
                true
            }
            'T' => match value.strip_prefix("ST=") {
                Some(state) => {
                    self.file.state = parse_state(state);
                    self.file.state.is_some()
                }
                None => true,
            },
            // Access, lock, flags, group, parent, login name and others.
            letter => letter.is_ascii_alphanumeric(),
        };
        self.read.unreadable += u64::from(!readable);
    }

    fn next_file_if_named(&mut self) {
        if self.file.name.is_some() {
            self.end_file();
        }
    }

    fn end_file(&mut self) {
        let file = std::mem::take(&mut self.file);
        let Some(name) = file.name.filter(|_| !file.other) else {
            return;
        };
        let socket = self.process.as_ref().and_then(|process| {
            let (local, remote) = parse_name(&name)?;
            Some(OpenSocket {
                pid: process.pid,
                command: process.command.clone(),
                uid: process.uid,
                device: file.device,
                ipv6: file.ipv6,
                protocol: file.protocol,
                local,
                remote,
                state: file.state,
            })
        });
        match socket {
            Some(socket) => self.read.sockets.push(socket),
            None => self.read.unreadable += 1,
        }
    }
}

/// `192.0.2.1:50000->198.51.100.7:443`, `*:80`
fn parse_name(name: &str) -> Option<(Endpoint, Option<Endpoint>)> {
    match name.split_once("->") {
        Some((local, remote)) => Some((parse_endpoint(local)?, Some(parse_endpoint(remote)?))),
        None => Some((parse_endpoint(name)?, None)),
    }
}

fn parse_state(text: &str) -> Option<SocketState> {
    Some(match text {
        "ESTABLISHED" => SocketState::Established,
        "SYN_SENT" => SocketState::SynSent,
        // Linux and macOS.
        "SYN_RECV" | "SYN_RCDV" | "SYN_RECEIVED" | "SYN_RCVD" => SocketState::SynReceived,
        "FIN_WAIT1" | "FIN_WAIT_1" => SocketState::FinWait1,
        "FIN_WAIT2" | "FIN_WAIT_2" => SocketState::FinWait2,
        "TIME_WAIT" => SocketState::TimeWait,
        "CLOSE" | "CLOSED" => SocketState::Closed,
        "CLOSE_WAIT" => SocketState::CloseWait,
        "LAST_ACK" => SocketState::LastAck,
        "LISTEN" => SocketState::Listen,
        "CLOSING" => SocketState::Closing,
        _ => return None,
    })
}

/// Takes `\x20` and `\xc3\xa9` back: `lsof` writes bytes so that are not printable
/// in its locale. Control characters stay as it writes them.
fn unescape(command: &str) -> Cow<'_, str> {
    if !command.contains(r"\x") {
        return Cow::Borrowed(command);
    }
    let mut bytes = Vec::with_capacity(command.len());
    let mut rest = command;
    while let Some((before, after)) = rest.split_once(r"\x") {
        bytes.extend_from_slice(before.as_bytes());
        let byte = after
            .get(..2)
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|byte| !byte.is_ascii_control());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(br"\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
