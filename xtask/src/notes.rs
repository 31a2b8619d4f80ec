//! Numbered notes below a table, for cells that hold no figure.

use std::fmt;

/// Each reason once, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    /// The number of a reason.
    pub(crate) fn number(&mut self, reason: &str) -> usize {
        let known = self.0.iter().position(|known| known == reason);
        let at = known.unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        });
        at + 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A numbered list in Markdown, a line each.
impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.0.iter().enumerate() {
            writeln!(f, "{}. {reason}", at + 1)?;
        }
        Ok(())
    }
}
