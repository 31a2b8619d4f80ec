//! Adds up what the kernel programs counted, so that every byte counts once.
//!
//! A process's total is what `PROCESSES` holds (closed sockets, and bytes moved on
//! others' sockets) plus its part of each open socket it owns. `PROCESSES` is read
//! first: a socket that closes before the sockets are listed is in neither, so the
//! sum is late by one reading, and never counts it twice. Nor is a socket added that the
//! listing has missed: it may have closed. Totals never go back.

use netwatch_common::{
    process::{ProcessKey, ProcessRecord},
    socket::{LOOPBACK, NETWORK, SocketRow, Wire},
};

use crate::{
    backend::id_hash::IdMap,
    reading::{Payload, WireBytes},
};

const IPPROTO_TCP: u16 = 6;

/// A listing can miss a socket while others come and go; not three times.
const ABSENCES: u8 = 3;

/// What one process moved, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) payload: Payload,
    pub(super) wire: WireBytes,
}

impl Total {
    fn add(&mut self, other: &Self) {
        let (a, b) = (&mut self.payload, &other.payload);
        a.rx_bytes += b.rx_bytes;
        a.tx_bytes += b.tx_bytes;
        let (a, b) = (&mut self.wire, &other.wire);
        a.rx_bytes += b.rx_bytes;
        a.tx_bytes += b.tx_bytes;
        a.rx_packets += b.rx_packets;
        a.tx_packets += b.tx_packets;
        a.loopback_rx_bytes += b.loopback_rx_bytes;
        a.loopback_tx_bytes += b.loopback_tx_bytes;
    }

    fn at_least(&mut self, other: &Self) {
        let (a, b) = (&mut self.payload, &other.payload);
        a.rx_bytes = a.rx_bytes.max(b.rx_bytes);
        a.tx_bytes = a.tx_bytes.max(b.tx_bytes);
        let (a, b) = (&mut self.wire, &other.wire);
        a.rx_bytes = a.rx_bytes.max(b.rx_bytes);
        a.tx_bytes = a.tx_bytes.max(b.tx_bytes);
        a.rx_packets = a.rx_packets.max(b.rx_packets);
        a.tx_packets = a.tx_packets.max(b.tx_packets);
        a.loopback_rx_bytes = a.loopback_rx_bytes.max(b.loopback_rx_bytes);
        a.loopback_tx_bytes = a.loopback_tx_bytes.max(b.loopback_tx_bytes);
    }
}

/// Packets over loopback and over the network together.
pub(super) fn wire(parts: &[Wire; 2]) -> WireBytes {
    let (loopback, network) = (&parts[LOOPBACK], &parts[NETWORK]);
    WireBytes {
        rx_bytes: loopback.rx_bytes + network.rx_bytes,
        tx_bytes: loopback.tx_bytes + network.tx_bytes,
        rx_packets: loopback.rx_packets + network.rx_packets,
        tx_packets: loopback.tx_packets + network.tx_packets,
        loopback_rx_bytes: loopback.rx_bytes,
        loopback_tx_bytes: loopback.tx_bytes,
    }
}

/// The owner's part of a socket that is not in `PROCESSES` yet.
fn owned(row: &SocketRow) -> Total {
    let is_paid = row.record.paid != 0;
    Total {
        payload: Payload {
            rx_bytes: if is_paid { 0 } else { row.record.rx_bytes },
            tx_bytes: if is_paid { 0 } else { row.record.tx_bytes },
        },
        wire: wire(&row.record.wire),
    }
}

/// Whom a socket's bytes belong to; `None` while its owner is not known.
pub(super) fn owner(row: &SocketRow) -> Option<ProcessKey> {
    if row.record.owner != ProcessKey::NONE {
        Some(row.record.owner)
    } else if row.header.kernel != 0 {
        Some(ProcessKey::KERNEL)
    } else {
        None
    }
}

/// A process and its figures.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) comm: [u8; 16],
    pub(super) cgroup_id: u64,
    pub(super) sockets: u32,
    pub(super) exited: bool,
    /// What is reported.
    pub(super) total: Total,
    /// What this reading found: the record and the open sockets.
    found: Total,
    /// Of removed records, and of closed sockets that the kernel could not add.
    settled: Total,
    /// Readings in a row at which it had exited and owned no socket.
    finished: u8,
}

impl Account {
    /// Its record may go, and so does the account after this reading.
    const fn is_over(&self) -> bool {
        self.finished >= 2
    }
}

/// A socket of the kernel's own, which ends without telling.
#[derive(Debug, Default)]
struct Untold {
    last: Total,
    /// Readings in a row that did not list it.
    absent: u8,
}

/// All processes.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    all: IdMap<ProcessKey, Account>,
    /// By cookie: the sockets whose end no program sees.
    untold: IdMap<u64, Untold>,
}

impl Accounts {
    /// Takes in what was read, in the order it was read; `open` says of each socket
    /// whether it was listed. Returns the keys whose records may leave `PROCESSES`:
    /// nothing can be added to them any more.
    pub(super) fn update<'a>(
        &mut self,
        records: &[(ProcessKey, ProcessRecord)],
        open: impl IntoIterator<Item = (&'a SocketRow, bool)>,
        closed: &[SocketRow],
    ) -> Vec<ProcessKey> {
        self.all.retain(|_, account| !account.is_over());
        for account in self.all.values_mut() {
            account.sockets = 0;
            account.found = Total::default();
        }
        for (key, record) in records {
            let account = self.all.entry(*key).or_default();
            account.comm = record.comm;
            account.cgroup_id = record.cgroup_id;
            account.exited = record.exited != 0;
            account.found.add(&Total {
                payload: Payload {
                    rx_bytes: record.rx_bytes,
                    tx_bytes: record.tx_bytes,
                },
                wire: wire(&record.wire),
            });
        }
        for untold in self.untold.values_mut() {
            untold.absent += 1;
        }
        for (row, is_listed) in open {
            let Some(key) = owner(row) else { continue };
            let account = self.all.entry(key).or_default();
            if account.comm == [0; 16] {
                account.comm = row.record.comm;
            }
            account.sockets += 1;
            let part = owned(row);
            if is_listed {
                account.found.add(&part);
            }
            if key == ProcessKey::KERNEL && row.header.protocol != IPPROTO_TCP {
                self.untold.insert(
                    row.header.cookie,
                    Untold {
                        last: part,
                        absent: 0,
                    },
                );
            }
        }
        for row in closed {
            self.untold.remove(&row.header.cookie);
            if row.header.folded == 0
                && let Some(key) = owner(row)
            {
                let account = self.all.entry(key).or_default();
                if account.comm == [0; 16] {
                    account.comm = row.record.comm;
                }
                account.settled.add(&owned(row));
            }
        }
        let kernel = self.all.entry(ProcessKey::KERNEL).or_default();
        self.untold.retain(|_, untold| {
            let over = untold.absent >= ABSENCES;
            if over {
                kernel.settled.add(&untold.last);
            }
            !over
        });
        let mut removable = Vec::new();
        for (key, account) in &mut self.all {
            let mut sum = account.found;
            sum.add(&account.settled);
            account.total.at_least(&sum);
            if account.exited && account.sockets == 0 {
                account.finished += 1;
            } else {
                account.finished = 0;
            }
            if account.is_over() {
                removable.push(*key);
            }
        }
        removable
    }

    /// `true` for a process that has figures.
    pub(super) fn is_known(&self, key: &ProcessKey) -> bool {
        self.all.contains_key(key)
    }

    /// What all processes moved.
    pub(super) fn sum(&self) -> Total {
        let mut sum = Total::default();
        for account in self.all.values() {
            sum.add(&account.total);
        }
        sum
    }

    /// Every process with its figures.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProcessKey, &Account)> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    const KEY: ProcessKey = ProcessKey {
        start_ns: 1,
        tgid: 2,
        ..ProcessKey::NONE
    };

    fn socket(tx_bytes: u64, paid: u8) -> SocketRow {
        let mut row = SocketRow::new_zeroed();
        row.record.owner = KEY;
        row.record.tx_bytes = tx_bytes;
        row.record.paid = paid;
        row
    }

    /// What the process has sent after a reading of its record and of one open socket.
    fn sent(accounts: &mut Accounts, recorded: u64, open: &SocketRow, is_listed: bool) -> u64 {
        let record = ProcessRecord {
            tx_bytes: recorded,
            ..ProcessRecord::default()
        };
        accounts.update(&[(KEY, record)], [(open, is_listed)], &[]);
        accounts.sum().payload.tx_bytes
    }

    #[test]
    fn a_socket_whose_bytes_are_in_the_record_adds_none() {
        let mut accounts = Accounts::default();
        assert_eq!(sent(&mut accounts, 5, &socket(7, 0), true), 12);
        assert_eq!(sent(&mut accounts, 12, &socket(7, 1), true), 12);
    }

    #[test]
    fn a_socket_that_was_missed_counts_neither_twice_nor_backwards() {
        let mut accounts = Accounts::default();
        assert_eq!(sent(&mut accounts, 0, &socket(7, 0), true), 7);
        assert_eq!(sent(&mut accounts, 0, &socket(7, 0), false), 7);
        // It has closed since, unseen.
        assert_eq!(sent(&mut accounts, 7, &socket(7, 0), false), 7);
        assert_eq!(sent(&mut accounts, 7, &socket(7, 1), true), 7);
        assert_eq!(sent(&mut accounts, 7, &socket(8, 1), true), 7);
    }
}
