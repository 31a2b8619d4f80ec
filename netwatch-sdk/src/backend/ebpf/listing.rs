//! One listing of the sockets after the other.
//!
//! The kernel lists two thousand sockets at a time (`OPEN`) and finds its place again
//! by counting, so a pass can miss a socket, or show one twice, while others come and go.

use std::{
    hash::{Hash, Hasher},
    mem,
};

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

/// The sockets of the last listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    rows: Vec<SocketRow>,
    /// Those of them that it missed, and how many listings in a row have.
    missed: IdMap<Identity, u8>,
    ended_untold: u64,
}

impl Listing {
    /// What is open: listed, or missed.
    pub(super) fn rows(&self) -> &[SocketRow] {
        &self.rows
    }

    /// Takes the next pass, without what it showed twice, and keeps, as they were, the
    /// sockets that it missed: those neither listed nor ended. When rows of ended
    /// sockets were lost (`ended_untold` has grown) none is kept: it may have ended.
    pub(super) fn complete(
        &mut self,
        mut listed: Vec<SocketRow>,
        ended: &IdSet<Identity>,
        ended_untold: u64,
    ) {
        let mut seen = IdSet::default();
        seen.reserve(listed.len());
        listed.retain(|row| seen.insert(Identity::of(row)));
        let is_sure = ended_untold == self.ended_untold;
        self.ended_untold = ended_untold;
        let missed_before = mem::take(&mut self.missed);
        for row in &self.rows {
            let identity = Identity::of(row);
            if !is_sure || seen.contains(&identity) || ended.contains(&identity) {
                continue;
            }
            let absences = missed_before.get(&identity).map_or(1, |before| before + 1);
            if absences < ABSENCES {
                listed.push(*row);
                self.missed.insert(identity, absences);
            }
        }
        self.rows = listed;
    }

    /// Removes sockets that have ended.
    pub(super) fn forget(&mut self, ended: &IdSet<Identity>) {
        if !ended.is_empty() {
            self.rows.retain(|row| !ended.contains(&Identity::of(row)));
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
        let open = open.iter().copied().map(row).collect();
        let ended = ended.iter().map(|&cookie| Identity::of(&row(cookie)));
        let ended = ended.collect();
        listing.complete(open, &ended, untold);
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
    fn accepted_multipath_sockets_share_a_cookie_and_are_two() {
        let mptcp = |port| {
            let mut row = row(7);
            row.header.protocol = 262;
            row.header.remote_port_be = port;
            row
        };
        let mut listing = Listing::default();
        listing.complete(vec![mptcp(1), mptcp(2)], &IdSet::default(), 0);
        assert_eq!(listing.rows().len(), 2);
    }
}
