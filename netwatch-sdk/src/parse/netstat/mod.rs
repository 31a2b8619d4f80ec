//! `netstat` of macOS: interface counters and routes.

pub(crate) mod interfaces;
pub(crate) mod routes;
