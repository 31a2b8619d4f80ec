//! Scans, beacons, tunnels and storms, found in events; and DNS figures.
//!
//! [`Detectors`] is fed [`Event`]s by whoever has them: kernel programs, a
//! packet capture, socket readings. It reads no clock, opens nothing, sends
//! nothing, and never sleeps. Its memory is bounded whatever arrives (about
//! 15 MB when every table is full of the worst that fits, 100 kB on an
//! ordinary host); what was dropped to make room is counted in [`Evicted`].
//!
//! | file | fires when |
//! |---|---|
//! | `port_scan` | 20 or more ports tried by one source within 30 s |
//! | `beacon` | 5 or more attempts from one source to one port of one destination with less than 15 % jitter |
//! | `dns_tunnel` | a name over 80 bytes, or over 50 queries a minute for over 30 names under one domain |
//! | `bandwidth` | an interface above 100 MB/s in 2 samples in a row |
//! | `retransmit_storm` | off by default; 100 segments and 5 % sent again to one peer within 60 s |
//! | `failed_connections` | off by default; 30 failures of one process within 60 s |
//!
//! ```
//! use netwatch_sdk::detect::{ConnectionAttempt, Detectors, Event, Host, Moment, Thresholds};
//!
//! let mut detectors = Detectors::new(Thresholds::default());
//! let now = Moment::now();
//! for port in 1..=20 {
//!     detectors.observe(
//!         now,
//!         &Event::ConnectionAttempt(ConnectionAttempt {
//!             source: Host::from_text("10.0.0.9"),
//!             destination: Host::from_text("192.0.2.7"),
//!             port,
//!             actor: None,
//!         }),
//!     );
//! }
//! assert_eq!(detectors.alerts(now.monotonic)[0].message, "Port scan from 10.0.0.9");
//! ```

mod actors;
mod allow;
mod bandwidth;
mod beacon;
mod bounded;
mod detectors;
mod dns_askers;
mod dns_statistics;
mod dns_tunnel;
mod domain;
mod event;
mod failed_connections;
mod finding;
mod findings;
mod open_questions;
mod port_scan;
mod retransmit_storm;
mod text;
mod thresholds;
mod top_names;
mod window;

pub(crate) use dns_statistics::Repeats;

pub use actors::Actors;
pub use allow::{Allow, Prefix};
pub use bandwidth::BandwidthThreshold;
pub use beacon::BeaconThreshold;
pub use detectors::{Detectors, Evicted};
pub use dns_askers::DnsAsker;
pub use dns_statistics::DnsStatistics;
pub use dns_tunnel::DnsTunnelThreshold;
pub use event::{
    Actor, ClientSocket, ConnectionAttempt, ConnectionFailed, DnsMessage, DnsQuery, DnsResponse,
    Event, Failure, Host, InterfaceRate, Moment, Retransmits,
};
pub use failed_connections::FailedConnectionsThreshold;
pub use finding::{Finding, Signal, Subject};
pub use findings::Raised;
pub use port_scan::PortScanThreshold;
pub use retransmit_storm::RetransmitStormThreshold;
pub use thresholds::Thresholds;
