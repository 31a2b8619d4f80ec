//! What can go wrong, and what to do about it.

use std::{error, fmt};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn error::Error + Send + Sync>;

/// What failed, why, and through [`Error::kind`] what to do about it.
pub struct Error {
    kind: ErrorKind,
    what: String,
    cause: Option<Cause>,
}

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Run with the capability or user the message names.
    Permission,
    /// This host cannot do it: use another backend, or what the message names.
    Unsupported,
    /// A program or file the message names is missing: install or mount it.
    Missing,
    /// A source answered with something that is not in its format.
    Malformed,
    /// A source did not answer in time: try again.
    TimedOut,
    /// The system refused for another reason; the cause says which.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            cause: None,
        }
    }

    pub(crate) fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// An I/O error on `what` (a path, a program, a call), with the kind its code implies.
    pub(crate) fn io(what: impl Into<String>, cause: std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            std::io::ErrorKind::NotFound => ErrorKind::Missing,
            std::io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            std::io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            std::io::ErrorKind::InvalidData => ErrorKind::Malformed,
            _ => ErrorKind::Io,
        };
        Self::new(kind, what).because(cause)
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, chain(self))
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_ref().map(|cause| {
            let cause: &(dyn error::Error + 'static) = cause.as_ref();
            cause
        })
    }
}

/// An error and its causes on one line. A cause that the line already says is not repeated.
pub(crate) fn chain(error: &dyn error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}
