//! What the parsers of line-based output share.

use std::borrow::Cow;

use crate::{Error, ErrorKind};

/// The lines of a tool's output, without their line ends.
///
/// A byte that is not UTF-8 becomes U+FFFD: macOS cuts names at 15 bytes, which
/// can be in the middle of a character.
pub(super) fn lines(output: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    output
        .split(|&byte| byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// That `output` is not what `tool` prints, with its first line as evidence.
pub(super) fn not_in_format(tool: &str, missing: &str, output: &[u8]) -> Error {
    const SHOWN: usize = 80;

    let first = lines(output).find(|line| !line.trim().is_empty());
    let shown: String = match &first {
        Some(line) => line.trim().chars().take(SHOWN).collect(),
        None => return Error::new(ErrorKind::Malformed, format!("{tool} printed nothing")),
    };
    Error::new(
        ErrorKind::Malformed,
        format!("{tool} printed no {missing}, but {shown:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_of_both_kinds_are_taken_off_and_bytes_that_are_no_text_stay_visible() {
        let read: Vec<_> = lines(b"one\r\ntwo\xff\n\nend").collect();
        assert_eq!(read, ["one", "two\u{fffd}", "", "end"]);
    }

    #[test]
    fn an_error_shows_the_first_line_that_says_something() {
        let error = not_in_format("nettop", "header", b"\n  usage: nettop [-c]\nmore");
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(
            error.to_string(),
            r#"nettop printed no header, but "usage: nettop [-c]""#
        );
        assert_eq!(
            not_in_format("nettop", "header", b" \n").to_string(),
            "nettop printed nothing"
        );
    }
}
