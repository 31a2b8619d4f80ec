//! The subjects an agent reports, one module each.

pub mod config;
pub mod connections;
pub mod disk;
pub mod health;
pub mod host;
pub mod network_intel;
pub mod proc_meta;
pub mod process_bandwidth;
mod running;
pub mod system;
pub mod traffic;
