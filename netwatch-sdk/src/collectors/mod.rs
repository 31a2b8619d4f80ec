//! The subjects an agent reports, one module each.

pub mod network_intel;
pub mod config;
pub mod disk;
pub mod health;
pub mod host;
pub mod proc_meta;
pub mod system;
pub mod traffic;
