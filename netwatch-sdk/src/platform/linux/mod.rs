//! Linux.

pub(crate) mod owners;
