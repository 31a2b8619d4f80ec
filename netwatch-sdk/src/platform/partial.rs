//! A value and what is missing from it.

use crate::{Error, Result};

/// What could be read, and what could not.
///
/// One unreadable line, mount or device costs itself, not the whole.
#[derive(Debug)]
pub struct Partial<T> {
    /// What could be read.
    pub value: T,
    /// Why parts are missing, one error each; empty when nothing is.
    pub gaps: Vec<Error>,
}

impl<T> Partial<T> {
    pub(crate) const fn complete(value: T) -> Self {
        Self {
            value,
            gaps: Vec::new(),
        }
    }
}

impl<T> FromIterator<Result<T>> for Partial<Vec<T>> {
    fn from_iter<I: IntoIterator<Item = Result<T>>>(readings: I) -> Self {
        let mut all = Self::complete(Vec::new());
        for reading in readings {
            match reading {
                Ok(value) => all.value.push(value),
                Err(gap) => all.gaps.push(gap),
            }
        }
        all
    }
}
