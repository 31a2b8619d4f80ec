//! One listing of the sockets after the other.
//!
//! A listing has a row for every socket that changed, and of the others their number:
//! their rows from before hold. Each of those tells of its end, so where ends are lost
//! (`CLOSED` was full) or the number is too small, a whole listing follows: a row for
//! every socket. So it does every [`WHOLE_EVERY`] readings, for what changes unseen:
//! the user id, by `fchown`.
//!
//! The kernel writes two thousand rows at a time (`OPEN`) and finds its place again
//! by counting, so a pass can miss a socket, or show one twice, while others come and go.

use std::{
    hash::{Hash, Hasher},
    mem,
};

use netwatch_common::socket::SocketRow;

use crate::backend::id_hash::{IdMap, IdSet};

/// A socket does not escape this many listings in a row: it has gone.
const ABSENCES: u8 = 3;

/// About a minute, at a reading a second.
const WHOLE_EVERY: u32 = 64;

/// What tells one socket from another. The cookie does, but for multipath TCP: what is
/// accepted has its listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    cookie: u64,
    /// Of multipath TCP only.
    remote: Option<([u64; 2], u16)>,
}

impl Identity {
    pub(super) fn of(row: &SocketRow) -> Self {
        const IPPROTO_MPTCP: u16 = 262;
        let header = &row.header;
        Self {
            cookie: header.cookie,
            remote: (header.protocol == IPPROTO_MPTCP)
                .then_some((header.remote, header.remote_port_be)),
        }
    }
}

/// Few share a cookie: it is hash enough.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.cookie);
    }
}

/// The open sockets: listed, or missed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    rows: Vec<SocketRow>,
    /// Beside each row: how many listings in a row have missed it.
    absences: Vec<u8>,
    places: IdMap<Identity, usize>,
    /// How many ends were lost when the listing before this, and when this began.
    untold: [u64; 2],
    /// Listings since the last whole one.
    partial: u32,
    /// This one is to have a row for every socket.
    is_whole: bool,
    in_doubt: bool,
    /// Rows there was room for when last asked.
    room: usize,
}

impl Listing {
    /// What is open.
    pub(super) fn rows(&self) -> &[SocketRow] {
        &self.rows
    }

    /// The same, and whether each row is as the socket was at this listing.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&SocketRow, bool)> {
        let in_doubt = |row: &SocketRow| self.in_doubt && row.record.is_settled();
        let rows = self.rows.iter().zip(&self.absences);
        rows.map(move |(row, &absences)| (row, absences == 0 && !in_doubt(row)))
    }

    /// `true` once after it has moved to larger memory, megabytes of it.
    pub(super) fn has_outgrown_its_memory(&mut self) -> bool {
        const MEGABYTE: usize = (1 << 20) / size_of::<SocketRow>();
        let before = mem::replace(&mut self.room, self.rows.capacity());
        self.room > before.max(MEGABYTE)
    }

    /// Begins a listing, of one pass or several. `untold` ends were lost so far.
    pub(super) fn begin(&mut self, untold: u64) {
        self.untold = [self.untold[1], untold];
        self.is_whole = self.in_doubt || self.partial >= WHOLE_EVERY;
        for absences in &mut self.absences {
            *absences = absences.saturating_add(1);
        }
    }

    /// `true` when the pass must have a row for every socket.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// `true` when ends were lost since the listing before began, or are under way.
    const fn ends_are_missing(&self, untold: u64) -> bool {
        untold != self.untold[0]
    }

    /// Begins again, with a whole listing, if this one is not and ends are missing: what
    /// it did not list may have ended.
    pub(super) fn must_begin_again(&mut self, untold: u64) -> bool {
        if self.is_whole || !self.ends_are_missing(untold) {
            return false;
        }
        self.is_whole = true;
        for absences in &mut self.absences {
            *absences = (*absences).max(1);
        }
        true
    }

    /// Takes a row of a pass; the last of a socket counts.
    pub(super) fn take(&mut self, row: &SocketRow) {
        let next = self.rows.len();
        let place = *self.places.entry(Identity::of(row)).or_insert(next);
        match (self.rows.get_mut(place), self.absences.get_mut(place)) {
            (Some(known), Some(absences)) => (*known, *absences) = (*row, 0),
            _ => {
                self.rows.push(*row);
                self.absences.push(0);
            }
        }
    }

    /// Ends a listing. Keeps, as they were, the sockets that are `quiet`, as many as its
    /// last pass says, and those that it missed: neither listed nor ended. When ends are
    /// missing (there are more `untold`) none of the latter is kept: it may have ended.
    pub(super) fn complete(&mut self, ended: &IdSet<Identity>, untold: u64, quiet: u64) {
        if self.is_whole {
            (self.partial, self.in_doubt) = (0, false);
        } else {
            self.partial += 1;
            self.keep_quiet(ended, quiet);
        }
        let is_sure = !self.ends_are_missing(untold);
        self.remove_if(|row, absences| {
            absences > 0 && (!is_sure || absences >= ABSENCES || ended.contains(&Identity::of(row)))
        });
    }

    /// The rows of sockets that have settled and were not listed hold, unless there are
    /// more of them than quiet sockets: then it is not known which, till the next listing.
    fn keep_quiet(&mut self, ended: &IdSet<Identity>, quiet: u64) {
        let none_ended = ended.is_empty();
        let mut waiting = Vec::with_capacity(self.rows.len());
        for (row, absences) in self.rows.iter().zip(&mut self.absences) {
            if *absences > 0
                && row.record.is_settled()
                && (none_ended || !ended.contains(&Identity::of(row)))
            {
                waiting.push(absences);
            }
        }
        self.in_doubt = quiet < waiting.len() as u64;
        for absences in waiting {
            *absences = if self.in_doubt { *absences - 1 } else { 0 };
        }
    }

    /// Removes sockets that have ended.
    pub(super) fn forget(&mut self, ended: &IdSet<Identity>) {
        if !ended.is_empty() {
            self.remove_if(|row, _| ended.contains(&Identity::of(row)));
        }
    }

    fn remove_if(&mut self, is_over: impl Fn(&SocketRow, u8) -> bool) {
        for place in (0..self.rows.len()).rev() {
            let (Some(row), Some(&absences)) = (self.rows.get(place), self.absences.get(place))
            else {
                continue;
            };
            if is_over(row, absences) {
                self.places.remove(&Identity::of(row));
                self.rows.swap_remove(place);
                self.absences.swap_remove(place);
                if let Some(moved) = self.rows.get(place) {
                    self.places.insert(Identity::of(moved), place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netwatch_common::socket::SocketRecord;
    use zerocopy::FromZeros as _;

    use super::*;

    fn row(cookie: u64) -> SocketRow {
        let mut row = SocketRow::new_zeroed();
        row.header.cookie = cookie;
        row
    }

    fn listed(listing: &mut Listing, open: &[u64], ended: &[u64], untold: u64) -> Vec<u64> {
        listing.begin(listing.untold[1]);
        for &cookie in open {
            listing.take(&row(cookie));
        }
        let ended = ended.iter().map(|&cookie| Identity::of(&row(cookie)));
        let ended = ended.collect();
        listing.complete(&ended, untold, 0);
        listing.forget(&ended);
        let rows = listing.rows().iter();
        let mut cookies: Vec<u64> = rows.map(|row| row.header.cookie).collect();
        cookies.sort_unstable();
        cookies
    }

    #[test]
    fn a_socket_that_a_pass_missed_stays_and_one_that_ended_goes() {
        let mut listing = Listing::default();
        assert_eq!(listed(&mut listing, &[1, 2, 3, 2], &[], 0), [1, 2, 3]);
        assert_eq!(listed(&mut listing, &[1], &[3], 0), [1, 2]);
        assert_eq!(listed(&mut listing, &[1, 2], &[], 0), [1, 2]);
    }

    #[test]
    fn a_socket_that_is_missed_three_times_has_gone() {
        let mut listing = Listing::default();
        assert_eq!(listed(&mut listing, &[1], &[], 0), [1]);
        assert_eq!(listed(&mut listing, &[], &[], 0), [1]);
        assert_eq!(listed(&mut listing, &[], &[], 0), [1]);
        assert!(listed(&mut listing, &[], &[], 0).is_empty());
    }

    #[test]
    fn nothing_stays_when_ends_were_not_told() {
        let mut listing = Listing::default();
        assert_eq!(listed(&mut listing, &[1], &[], 0), [1]);
        assert!(listed(&mut listing, &[], &[], 1).is_empty());
    }

    #[test]
    fn a_row_is_found_again_after_others_have_gone() {
        let mut listing = Listing::default();
        assert_eq!(listed(&mut listing, &[1, 2, 3, 4], &[], 0), [1, 2, 3, 4]);
        assert_eq!(listed(&mut listing, &[2, 3, 4], &[1, 3], 0), [2, 4]);
        let mut changed = row(4);
        changed.record.tx_bytes = 5;
        listing.begin(0);
        listing.take(&changed);
        listing.take(&row(2));
        listing.complete(&IdSet::default(), 0, 0);
        let mut figures: Vec<(u64, u64)> = listing
            .rows()
            .iter()
            .map(|row| (row.header.cookie, row.record.tx_bytes))
            .collect();
        figures.sort_unstable();
        assert_eq!(figures, [(2, 0), (4, 5)]);
    }

    fn settled(cookie: u64) -> SocketRow {
        let mut row = row(cookie);
        row.record.listed = SocketRecord::settled(1);
        row
    }

    /// Two settled sockets, listed once.
    fn two_settled() -> Listing {
        let mut listing = Listing::default();
        listing.begin(0);
        listing.take(&settled(1));
        listing.take(&settled(2));
        listing.complete(&IdSet::default(), 0, 0);
        listing
    }

    /// A listing without rows.
    fn nothing_listed(listing: &mut Listing, ended: &[u64], quiet: u64) -> usize {
        listing.begin(0);
        let ended = ended.iter().map(|&cookie| Identity::of(&row(cookie)));
        let ended = ended.collect();
        listing.complete(&ended, 0, quiet);
        listing.forget(&ended);
        listing.rows().len()
    }

    #[test]
    fn quiet_sockets_stay_for_as_long_as_they_are_passed() {
        let mut listing = two_settled();
        for _ in 0..10 {
            assert_eq!(nothing_listed(&mut listing, &[], 2), 2);
            assert!(!listing.in_doubt);
        }
        assert_eq!(nothing_listed(&mut listing, &[1], 1), 1);
        assert!(!listing.in_doubt);
    }

    #[test]
    fn a_quiet_socket_that_is_not_passed_is_missing_from_whole_listings_and_goes() {
        let mut listing = two_settled();
        let mut lengths = Vec::new();
        for _ in 0..6 {
            listing.begin(0);
            if listing.is_whole() {
                listing.take(&settled(1));
            }
            listing.complete(&IdSet::default(), 0, 1);
            lengths.push((listing.is_whole(), listing.rows().len()));
        }
        let expected = [
            (false, 2),
            (true, 2),
            (false, 2),
            (true, 2),
            (false, 2),
            (true, 1),
        ];
        assert_eq!(lengths, expected);
    }

    #[test]
    fn when_ends_are_lost_what_is_quiet_is_listed_again() {
        let mut listing = two_settled();
        listing.begin(0);
        assert!(listing.must_begin_again(1));
        assert!(listing.is_whole() && !listing.must_begin_again(1));
        listing.take(&settled(2));
        listing.complete(&IdSet::default(), 1, 0);
        let cookies: Vec<u64> = listing.rows().iter().map(|row| row.header.cookie).collect();
        assert_eq!(cookies, [2]);
    }

    #[test]
    fn an_end_that_is_lost_while_listing_is_known_to_the_next_listing() {
        let mut listing = Listing::default();
        listing.begin(0);
        listing.take(&row(1));
        // It ended after it was listed, and before `untold` was looked up.
        listing.complete(&IdSet::default(), 1, 0);
        listing.begin(1);
        listing.complete(&IdSet::default(), 1, 0);
        assert!(listing.rows().is_empty());
    }

    #[test]
    fn now_and_then_a_listing_is_whole() {
        let mut listing = two_settled();
        let wholes = (0..=WHOLE_EVERY).filter(|_| {
            listing.begin(0);
            let is_whole = listing.is_whole();
            listing.complete(&IdSet::default(), 0, 2);
            is_whole
        });
        assert_eq!(wholes.count(), 1);
    }

    #[test]
    fn accepted_multipath_sockets_share_a_cookie_and_are_two() {
        let mptcp = |port| {
            let mut row = row(7);
            row.header.protocol = 262;
            row.header.remote_port_be = port;
            row
        };
        let mut listing = Listing::default();
        listing.take(&mptcp(1));
        listing.take(&mptcp(2));
        assert_eq!(listing.rows().len(), 2);
    }
}
