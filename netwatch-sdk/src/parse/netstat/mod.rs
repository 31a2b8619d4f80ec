//! `netstat` of macOS: interface counters, routes and states of connections.

pub(crate) mod interfaces;
pub(crate) mod routes;
pub(crate) mod states;
