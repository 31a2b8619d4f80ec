//! The subjects an agent reports, one module each.

pub mod network_intel;
