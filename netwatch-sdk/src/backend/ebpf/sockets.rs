//! The sockets at a reading: those that are open, with their owners, and those that ended.

use aya::maps::{MapData, RingBuf};
use netwatch_common::{counters, process::ProcessKey, socket::SocketRow};
use zerocopy::FromBytes as _;

use super::{
    accounts,
    listing::{Identity, Listing},
    load::Loaded,
    maps,
    programs::Store,
};
use crate::{
    Error, ErrorKind, Result,
    backend::id_hash::{IdMap, IdSet},
};

/// What is known of them, from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) listing: Listing,
    /// Those without an owner, and how many searches have left them without one.
    ownerless: IdMap<u64, u8>,
    /// Rows of ended sockets that were read, and that were lost.
    told: u64,
    lost: u64,
    pub(super) unreadable: u64,
    /// Those that ended since the reading before.
    ended: IdSet<Identity>,
    /// There was a reading before.
    is_known: bool,
}

impl Sockets {
    /// Lists the open sockets, and returns the rows of those that ended.
    pub(super) fn read(&mut self, loaded: &mut Loaded) -> Result<Vec<SocketRow>> {
        let mut quiet = self.list_with_owners(loaded)?;
        let ends = maps::counter(&loaded.ebpf, counters::ENDS)?;
        let closed = self.closed(loaded, ends)?;
        self.lost = maps::counter(&loaded.ebpf, counters::CLOSED_ROWS)?;
        // Lost, or on their way: those bytes may be in `PROCESSES`.
        let untold = self.lost.max(ends.saturating_sub(self.told));
        if self.listing.must_begin_again(untold) {
            quiet = self.list(loaded)?;
        }
        self.ended = closed.iter().map(Identity::of).collect();
        self.listing.complete(&self.ended, untold, quiet);
        self.is_known = true;
        Ok(closed)
    }

    /// Forgets the sockets that ended, once they are accounted for.
    pub(super) fn forget_ended(&mut self) {
        self.listing.forget(&self.ended);
    }

    /// Lists all sockets; returns how many had no row because nothing changed.
    fn list(&mut self, loaded: &mut Loaded) -> Result<u64> {
        let set_whole = |loaded: &mut Loaded, whole: bool| {
            maps::set_counter(&mut loaded.ebpf, counters::LIST_WHOLE, whole.into())
        };
        if self.listing.is_whole() {
            set_whole(loaded, true)?;
        }
        let quiet = self.pass(loaded);
        // A walk of the table misses what stands behind a socket that ends meanwhile.
        let quiet = match loaded.store {
            Store::Table => quiet.and_then(|_| self.pass(loaded)),
            Store::Sockets => quiet,
        };
        if self.listing.is_whole() {
            set_whole(loaded, false)?;
        }
        quiet
    }

    /// One pass over all sockets; returns how many had no row.
    fn pass(&mut self, loaded: &Loaded) -> Result<u64> {
        let before = maps::counter(&loaded.ebpf, counters::QUIET)?;
        let mut open = ring(loaded, "OPEN")?;
        // What a pass that failed has left.
        while open.next().is_some() {}
        let listing = &mut self.listing;
        loaded
            .sockets
            .run(|| {
                while let Some(item) = open.next() {
                    if let Ok((row, _)) = SocketRow::ref_from_prefix(&item)
                        && row.record.owner != ProcessKey::TEST
                    {
                        listing.take(row);
                    }
                }
            })
            .map_err(|error| Error::io("the list of sockets", error))?;
        Ok(maps::counter(&loaded.ebpf, counters::QUIET)?.saturating_sub(before))
    }

    /// The rows of sockets that have ended since the last reading. `ends` are all ends
    /// so far: without new ones there is nothing to map.
    fn closed(&mut self, loaded: &Loaded, ends: u64) -> Result<Vec<SocketRow>> {
        let mut rows = Vec::new();
        if ends == self.told + self.lost {
            return Ok(rows);
        }
        let mut closed = ring(loaded, "CLOSED")?;
        while let Some(item) = closed.next() {
            self.told += 1;
            match SocketRow::read_from_prefix(&item) {
                Ok((row, _)) if row.record.owner == ProcessKey::TEST => {}
                Ok((row, _)) => rows.push(row),
                Err(_) => self.unreadable += 1,
            }
        }
        Ok(rows)
    }

    /// Accepted sockets that nobody has used have no owner yet; looks for one when
    /// there are new ones. Not just once: a search can fall between the acceptance of a
    /// socket and its file. Returns how many sockets had no row.
    fn list_with_owners(&mut self, loaded: &mut Loaded) -> Result<u64> {
        const SEARCHES: u8 = 2;
        let ownerless = |rows: &[SocketRow], before: &IdMap<u64, u8>| -> IdMap<u64, u8> {
            rows.iter()
                .filter(|row| accounts::owner(row).is_none() && row.header.attached != 0)
                .map(|row| row.header.cookie)
                .map(|cookie| (cookie, before.get(&cookie).copied().unwrap_or_default()))
                .collect()
        };
        self.listing
            .begin(maps::counter(&loaded.ebpf, counters::CLOSED_ROWS)?);
        let mut quiet = self.list(loaded)?;
        if !self.is_known {
            // There is no listing before the first to make up for what it missed.
            quiet = self.list(loaded)?;
        }
        self.ownerless = ownerless(self.listing.rows(), &self.ownerless);
        if self
            .ownerless
            .values()
            .all(|&searches| searches >= SEARCHES)
        {
            return Ok(quiet);
        }
        loaded.find_owners()?;
        for searches in self.ownerless.values_mut() {
            *searches = searches.saturating_add(1);
        }
        let quiet = self.list(loaded)?;
        self.ownerless = ownerless(self.listing.rows(), &self.ownerless);
        Ok(quiet)
    }
}

/// A ring buffer of rows, mapped for as long as it is read: a mapping counts twice
/// its size as this process's memory.
fn ring<'a>(loaded: &'a Loaded, name: &str) -> Result<RingBuf<&'a MapData>> {
    RingBuf::try_from(maps::generic_map(&loaded.ebpf, name)?)
        .map_err(|error| Error::new(ErrorKind::Io, format!("{name} cannot be read")).because(error))
}
