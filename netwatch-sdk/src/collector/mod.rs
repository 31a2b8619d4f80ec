//! The typed API: a running collector, its readers and its status.

/// Which way of measuring to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Backend {
    /// The best that this host allows.
    #[default]
    Auto,
}

/// Settings of a [`Collector`].
#[derive(Debug, Clone, Default)]
pub struct Builder {}

/// A running collector.
#[derive(Debug)]
pub struct Collector {}

/// One reader of a [`Collector`], with its own previous reading.
#[derive(Debug)]
pub struct Reader {}

/// How a [`Collector`] is doing.
#[derive(Debug, Clone)]
pub struct Status {}
