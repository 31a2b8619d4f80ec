//! One listing of the sockets after the other.
//!
//! The kernel lists two thousand sockets at a time (`OPEN`) and finds its place again
//! by counting, so a pass can miss a socket, or show one twice, while others come and go.

use std::hash::{Hash, Hasher};

use netwatch_common::socket::SocketRow;

use crate::backend::id_hash::{IdMap, IdSet};

/// A socket does not escape this many listings in a row: it has gone.
const ABSENCES: u8 = 3;

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
    ended_untold: u64,
}

impl Listing {
    /// What is open.
    pub(super) fn rows(&self) -> &[SocketRow] {
        &self.rows
    }

    /// Begins a listing, of one pass or several.
    pub(super) fn begin(&mut self) {
        for absences in &mut self.absences {
            *absences = absences.saturating_add(1);
        }
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

    /// Ends a listing. Keeps, as they were, the sockets that it missed: those neither
    /// listed nor ended. When rows of ended sockets were lost (`ended_untold` has
    /// grown) none is kept: it may have ended.
    pub(super) fn complete(&mut self, ended: &IdSet<Identity>, ended_untold: u64) {
        let is_sure = ended_untold == self.ended_untold;
        self.ended_untold = ended_untold;
        self.remove_if(|row, absences| {
            absences > 0 && (!is_sure || absences >= ABSENCES || ended.contains(&Identity::of(row)))
        });
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
    use zerocopy::FromZeros as _;

    use super::*;

    fn row(cookie: u64) -> SocketRow {
        let mut row = SocketRow::new_zeroed();
        row.header.cookie = cookie;
        row
    }

    fn listed(listing: &mut Listing, open: &[u64], ended: &[u64], untold: u64) -> Vec<u64> {
        listing.begin();
        for &cookie in open {
            listing.take(&row(cookie));
        }
        let ended = ended.iter().map(|&cookie| Identity::of(&row(cookie)));
        let ended = ended.collect();
        listing.complete(&ended, untold);
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
        listing.begin();
        listing.take(&changed);
        listing.take(&row(2));
        listing.complete(&IdSet::default(), 0);
        let mut figures: Vec<(u64, u64)> = listing
            .rows()
            .iter()
            .map(|row| (row.header.cookie, row.record.tx_bytes))
            .collect();
        figures.sort_unstable();
        assert_eq!(figures, [(2, 0), (4, 5)]);
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
