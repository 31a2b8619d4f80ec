//! When each detector speaks.

use super::{
    allow::Allow, bandwidth::BandwidthThreshold, beacon::BeaconThreshold,
    dns_tunnel::DnsTunnelThreshold, failed_connections::FailedConnectionsThreshold,
    port_scan::PortScanThreshold, retransmit_storm::RetransmitStormThreshold,
};

/// The settings of all detectors. One that is `None` is off.
///
/// The default is what the wire contract documents: four detectors on, the two
/// that have no category on the wire off.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Many ports tried by one source.
    pub port_scan: Option<PortScanThreshold>,
    /// Connections at regular intervals.
    pub beacon: Option<BeaconThreshold>,
    /// Data in DNS names.
    pub dns_tunnel: Option<DnsTunnelThreshold>,
    /// An interface above a rate.
    pub bandwidth: Option<BandwidthThreshold>,
    /// Many segments sent again to one peer. Off by default.
    pub retransmit_storm: Option<RetransmitStormThreshold>,
    /// Many connections that failed. Off by default.
    pub failed_connections: Option<FailedConnectionsThreshold>,
    /// Traffic that is known to be harmless. By default reverse lookups
    /// (`in-addr.arpa`, `ip6.arpa`) for the DNS tunnel detector: a program that
    /// names the addresses of a log asks for many names under one of them.
    pub allow: Vec<Allow>,
}

impl Default for Thresholds {
    fn default() -> Self {
        let reverse = |zone: &str| Allow {
            signal: Some(super::Signal::DnsTunnel),
            domain: Some(zone.to_owned()),
            ..Allow::default()
        };
        Self {
            port_scan: Some(PortScanThreshold::default()),
            beacon: Some(BeaconThreshold::default()),
            dns_tunnel: Some(DnsTunnelThreshold::default()),
            bandwidth: Some(BandwidthThreshold::default()),
            retransmit_storm: None,
            failed_connections: None,
            allow: vec![reverse("in-addr.arpa"), reverse("ip6.arpa")],
        }
    }
}
