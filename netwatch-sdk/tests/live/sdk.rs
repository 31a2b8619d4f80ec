//! The names of the collector's API that the tests use, in one place.

pub(crate) use crate::stub::{Backend, Builder, Collector, ErrorKind};
