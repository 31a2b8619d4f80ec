//! DNS names: their length, and the domain someone registered.

/// Zones of addresses: all lookups below one are of one kind.
const REVERSE: [&str; 2] = ["in-addr.arpa", "ip6.arpa"];

/// Longest name kept: 255 bytes, each escaped as `\DDD`.
const NAME_BYTES: usize = 1_020;

/// `name` in lower case without a trailing dot; the root is `.`. Of a text too
/// long for a name, its end.
pub(crate) fn fold(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    let start = name.ceil_char_boundary(name.len().saturating_sub(NAME_BYTES));
    let name = name.get(start..).unwrap_or(name);
    if name.is_empty() {
        ".".to_owned()
    } else {
        name.to_ascii_lowercase()
    }
}

/// The part of a folded `name` that someone registered, by the Public Suffix
/// List: `example.co.uk` of `www.example.co.uk`.
///
/// The list is that of the `psl` release built in, private suffixes such as
/// `github.io` included. A name of one label, and a suffix itself, is its own
/// parent; so is an address zone (`in-addr.arpa`) of the names below it.
pub(crate) fn parent(name: &str) -> &str {
    for zone in REVERSE {
        if name
            .strip_suffix(zone)
            .is_some_and(|above| above.ends_with('.'))
        {
            return zone;
        }
    }
    // `psl` leaves out dots at the end, of which a name that is none may have several.
    psl::domain_str(name)
        .filter(|domain| name.ends_with(domain))
        .unwrap_or(name)
}

/// What stands before `parent` in `name`.
pub(crate) fn below<'a>(name: &'a str, parent: &str) -> &'a str {
    name.strip_suffix(parent).unwrap_or(name)
}

/// Bytes of `name` with its dots, without a trailing one. An escaped byte (`\032`, `\.`) is one.
pub(crate) fn length(name: &str) -> usize {
    let mut bytes = name.strip_suffix('.').unwrap_or(name).bytes();
    let mut length = 0;
    while let Some(byte) = bytes.next() {
        length += 1;
        if byte == b'\\' && bytes.next().is_some_and(|escaped| escaped.is_ascii_digit()) {
            bytes.nth(1);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parent_is_what_someone_registered() {
        for (name, expected) in [
            ("www.example.com", "example.com"),
            ("a.b.c.example.co.uk", "example.co.uk"),
            ("me.github.io", "me.github.io"),
            ("x.me.github.io", "me.github.io"),
            ("0001.tunnel.test", "tunnel.test"),
            ("4.3.2.10.in-addr.arpa", "in-addr.arpa"),
            ("localhost", "localhost"),
            ("co.uk", "co.uk"),
            (".", "."),
            ("", ""),
        ] {
            assert_eq!(parent(name), expected, "{name}");
        }
    }

    #[test]
    fn names_are_folded() {
        assert_eq!(fold("WWW.Example.COM."), "www.example.com");
        assert_eq!(fold("."), ".");
        assert_eq!(fold(""), ".");
    }

    #[test]
    fn a_text_too_long_for_a_name_keeps_its_end() {
        let folded = fold(&format!("{}.example.com", "é".repeat(1_000_000)));
        assert!(folded.len() <= NAME_BYTES);
        assert_eq!(parent(&folded), "example.com");
    }

    #[test]
    fn an_escaped_byte_counts_as_one() {
        assert_eq!(length("example.com"), 11);
        assert_eq!(length("example.com."), 11);
        assert_eq!(length(r"My\032Printer"), 10);
        assert_eq!(length(r"a\.b\\c"), 5);
        assert_eq!(length("\\"), 1);
    }

    proptest! {
        #[test]
        fn any_text_has_a_parent_that_ends_it(name in "\\PC*|[a-z.\\\\0-9]{0,80}") {
            let name = fold(&name);
            let parent = parent(&name);
            prop_assert!(name.ends_with(parent));
            prop_assert_eq!(below(&name, parent).len() + parent.len(), name.len());
            prop_assert!(length(&name) <= name.len());
        }
    }
}
