//! macOS: the rows of `nettop` joined with the descriptors of `lsof`.
//!
//! `nettop` says what every socket of the host moved and whose it is, also
//! without privilege; `lsof` adds who shares a socket and the user, for root of
//! every process and otherwise of one's own; `ps` says when processes started,
//! which tells a process from a later one with the same pid.
//!
//! What the figures are worth. By XNU's source (`INP_ADD_STAT` in `tcp_input.c`,
//! `tcp_output.c`, `udp_usrreq.c`; read, not measured on a Mac):
//!
//! - TCP bytes are segments without headers. Duplicates and retransmissions are
//!   in `bytes_in` and `bytes_out`, and in columns of their own, by which they are
//!   taken out again. Probes of a closed window are in none: a **lower bound**.
//!   Where those columns are missing the figure may be too high: an **estimate**.
//! - UDP bytes are counted before a datagram is put into a full buffer and lost,
//!   and some multicast datagrams with their headers: an **estimate**.
//! - A process's total is the sum over its sockets. What a socket moved between
//!   the last reading that shows it and its end is not seen, nor a socket that
//!   lived between two readings: a **lower bound** at best.
//!   `nettop`'s own sum for a process holds the bytes of sockets that ended while
//!   `nettop` ran, which have no figures of their own; they are added.
//!
//! Without `nettop` the sockets and owners of `lsof` are read, with no bytes
//! ([`Source::Lsof`]); totals stay where they were,
//! and `nettop` is asked again after 1, 2, 4, … at most 32 readings.

mod commands;
mod follow;
mod join;
mod processes;
mod sighting;

use std::time::{Duration, Instant};

use chrono::Utc;

use self::{commands::Answers, join::Join};
use super::Measure;
use crate::{
    Result,
    collector::{Packets, Status},
    error,
    platform::Runner,
    reading::{Reading, Source},
};

/// Measures with the tools of macOS.
#[derive(Debug)]
pub(crate) struct Macos {
    runner: Runner,
    join: Join,
    pause: Pause,
    /// Why the last reading has no bytes; `None` when it has.
    trouble: Option<String>,
}

impl Macos {
    /// Longer than the second that `nettop` may sample for.
    const TIME_LIMIT: Duration = Duration::from_secs(10);

    /// With the tools of this host. Nothing is run before the first reading.
    pub(crate) fn start() -> Self {
        Self::new(Runner::default().with_time_limit(Self::TIME_LIMIT))
    }

    fn new(runner: Runner) -> Self {
        Self {
            runner,
            join: Join::default(),
            pause: Pause::default(),
            trouble: None,
        }
    }

    fn note(&mut self, answers: &Answers) {
        let trouble = match &answers.nettop {
            Some(Ok(_)) => {
                self.pause.end();
                None
            }
            Some(Err(error)) => {
                self.pause.begin();
                Some(error::chain(error))
            }
            None => return,
        };
        match (&self.trouble, &trouble) {
            (None, Some(why)) => log::warn!("sockets from lsof, without bytes: {why}"),
            (Some(_), None) => log::info!("sockets and bytes from nettop again"),
            _ => {}
        }
        self.trouble = trouble;
    }
}

impl Measure for Macos {
    fn read(&mut self) -> Result<Reading> {
        let answers = Answers::ask(&self.runner, self.pause.is_over());
        self.note(&answers);
        self.join.reading(answers, Instant::now(), Utc::now())
    }

    fn status(&self) -> Status {
        Status {
            limits: self.trouble.iter().cloned().collect(),
            packets: Packets::NotCounted("nettop knows no packets of one socket".to_owned()),
            ..Status::of(if self.trouble.is_none() {
                Source::Nettop
            } else {
                Source::Lsof
            })
        }
    }
}

/// How long a tool that failed is left alone, in readings.
#[derive(Debug, Default)]
struct Pause {
    length: u32,
    left: u32,
}

impl Pause {
    const LONGEST: u32 = 32;

    /// Counts this reading.
    fn is_over(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                false
            }
            None => true,
        }
    }

    fn begin(&mut self) {
        self.length = (self.length * 2).clamp(1, Self::LONGEST);
        self.left = self.length;
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod replay;
