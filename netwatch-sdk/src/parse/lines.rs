//! Text read line by line: one bad line costs that line, and is told.

use std::fmt;

/// The rows of a text, and the lines that are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) bad: Vec<BadLine>,
}

/// A line that is not in its format. Its text is kept out: it may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) why: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.why)
    }
}

impl std::error::Error for BadLine {}

/// Reads every line with `row`, which says `Ok(None)` of a line that holds no row.
pub(crate) fn parse_lines<'a, T>(
    text: &'a [u8],
    mut row: impl FnMut(&'a [u8]) -> Result<Option<T>, &'static str>,
) -> Lines<T> {
    let mut lines = Lines {
        rows: Vec::new(),
        bad: Vec::new(),
    };
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        match row(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(Some(value)) => lines.rows.push(value),
            Ok(None) => {}
            Err(why) => lines.bad.push(BadLine {
                number: index + 1,
                why,
            }),
        }
    }
    lines
}

/// The same for lines that must be UTF-8; empty ones are passed over.
pub(crate) fn parse_text_lines<'a, T>(
    text: &'a [u8],
    mut row: impl FnMut(&'a str) -> Result<Option<T>, &'static str>,
) -> Lines<T> {
    parse_lines(text, |line| {
        let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        row(line)
    })
}
