//! DNS figures.

use serde::{Deserialize, Serialize};

/// What was asked of DNS servers and how they answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnalytics {
    /// Queries seen.
    pub total_queries: u64,
    /// Responses seen.
    pub total_responses: u64,
    /// Responses with code NXDOMAIN.
    pub nxdomain_count: u64,
    /// Answered queries by latency: <5, <10, <25, <50, <100, <250, <500, ≥500 ms.
    pub latency_buckets: [u64; 8],
    /// The most asked names with their counts, at most 20.
    pub top_domains: Vec<(String, u32)>,
}

impl DnsAnalytics {
    /// `true` when nothing was seen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total_queries == 0 && self.total_responses == 0
    }
}
