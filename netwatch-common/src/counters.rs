//! The map `COUNTERS`: one number per index.

/// Payload bytes sent that reached no process's total.
pub const UNATTRIBUTED_TX: u32 = 0;
/// Payload bytes received that reached no process's total.
pub const UNATTRIBUTED_RX: u32 = 1;
/// Packet bytes that reached no process's total.
pub const UNATTRIBUTED_WIRE: u32 = 2;
/// Closed sockets whose row did not fit into `CLOSED`.
pub const CLOSED_ROWS: u32 = 3;
/// Calls on a socket that could not be given a record.
pub const UNTRACKED_CALLS: u32 = 4;
/// Packets of a socket that could not be given a record.
pub const UNTRACKED_PACKETS: u32 = 5;
/// 1 once the sockets older than the collector have been listed.
pub const SEEDED: u32 = 6;
/// While hooks are tested, who does it: thread group id in the upper half, thread id
/// in the lower. 0 otherwise.
pub const TESTER: u32 = 7;
/// Sockets that listings have passed without a row: nothing about them had changed.
pub const QUIET: u32 = 8;
/// 1 while a listing is to have a row for every socket.
pub const LIST_WHOLE: u32 = 9;
/// 1 while someone listens to what happens to connections.
pub const EVENTS_WANTED: u32 = 10;
/// Events of connections that did not fit into `EVENTS`.
pub const EVENTS_LOST: u32 = 11;
/// Sockets that have ended; counted before anything else is done about it.
pub const ENDS: u32 = 12;
/// DNS messages that did not fit into `DNS`, or came behind another in one segmented send.
pub const DNS_MESSAGES: u32 = 13;
/// Entries that were made in `CLOSED_PORTS`.
pub const CLOSED_PORTS: u32 = 14;
/// Attempts at closed ports that had no room there.
pub const CLOSED_PORTS_LOST: u32 = 15;
/// State changes of TCP sockets that the first program missed and its double saw.
pub const RECOVERED_STATES: u32 = 16;
/// Likewise: ends.
pub const RECOVERED_ENDS: u32 = 17;
/// 1 while someone listens to DNS messages.
pub const DNS_TOLD: u32 = 18;
/// Likewise: send calls, less those that the first program left to its double.
pub const RECOVERED_SENDS: u32 = 19;
/// Likewise: receive calls.
pub const RECOVERED_RECEIVES: u32 = 20;
/// Likewise: reads of a TCP stream.
pub const RECOVERED_READS: u32 = 21;
/// Likewise: send calls on IPv6 sockets, where those have a program of their own.
pub const RECOVERED_SENDS_V6: u32 = 22;
/// Likewise: receive calls.
pub const RECOVERED_RECEIVES_V6: u32 = 23;
/// How many there are.
pub const LEN: u32 = 24;
