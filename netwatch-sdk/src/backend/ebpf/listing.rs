//! One listing of the sockets after the other.
//!
//! The kernel lists a few hundred sockets at a time and finds its place again by
//! counting, so a pass can miss a socket, or show one twice, while others come and go.

use std::collections::{HashMap, HashSet};

use netwatch_common::socket::SocketRow;

/// A socket does not escape this many listings in a row: it has gone.
const ABSENCES: u8 = 3;

/// What tells one socket from another. The cookie does, but for multipath TCP: what is
/// accepted has its listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// The sockets of the last listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    known: HashMap<Identity, (SocketRow, u8)>,
    ended_untold: u64,
}

impl Listing {
    /// Removes what a pass showed twice, and adds, as they were, the sockets that it
    /// missed: those neither listed nor ended. When rows of ended sockets were lost
    /// (`ended_untold` has grown) nothing is added: it may have ended.
    pub(super) fn complete(
        &mut self,
        open: &mut Vec<SocketRow>,
        ended: &HashSet<Identity>,
        ended_untold: u64,
    ) {
        let mut seen = HashSet::with_capacity(open.len());
        open.retain(|row| seen.insert(Identity::of(row)));
        let is_sure = ended_untold == self.ended_untold;
        self.ended_untold = ended_untold;
        let mut known = HashMap::with_capacity(open.len());
        known.extend(open.iter().map(|row| (Identity::of(row), (*row, 0))));
        for (identity, (row, absences)) in self.known.drain() {
            if is_sure
                && absences + 1 < ABSENCES
                && !seen.contains(&identity)
                && !ended.contains(&identity)
            {
                open.push(row);
                known.insert(identity, (row, absences + 1));
            }
        }
        known.retain(|identity, _| !ended.contains(identity));
        self.known = known;
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
        let mut open: Vec<_> = open.iter().copied().map(row).collect();
        let ended = ended.iter().map(|&cookie| Identity::of(&row(cookie)));
        listing.complete(&mut open, &ended.collect(), untold);
        let mut cookies: Vec<u64> = open.iter().map(|row| row.header.cookie).collect();
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
        let mut open = vec![mptcp(1), mptcp(2)];
        Listing::default().complete(&mut open, &HashSet::new(), 0);
        assert_eq!(open.len(), 2);
    }
}
