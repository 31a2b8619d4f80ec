//! Which functions and variables the running kernel has, from `/proc/kallsyms`.

use std::{cell::OnceCell, collections::HashMap, fs};

use crate::{Error, Result};

const PATH: &str = "/proc/kallsyms";

/// The kernel's symbols, read when first asked for. About 10 MB, and 30 ms.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    lines: OnceCell<Vec<u8>>,
}

impl Symbols {
    /// Whether the kernel, or a module that is loaded, has a symbol.
    pub(super) fn has(&self, symbol: &str) -> Result<bool> {
        Ok(has(self.lines()?, symbol))
    }

    /// Where functions begin, and their lengths up to the next symbol. Zeros for one that is
    /// not there, and where addresses are hidden.
    pub(super) fn extents<const COUNT: usize>(
        &self,
        functions: [&str; COUNT],
    ) -> Result<[[u64; 2]; COUNT]> {
        Ok(extents(self.lines()?, functions))
    }

    /// Where functions of the kernel itself begin, which never changes: none that a module has,
    /// whose name another has too, or whose address is hidden.
    pub(super) fn addresses(
        &self,
        functions: impl Iterator<Item = &'static str>,
    ) -> Result<HashMap<&'static str, u64>> {
        Ok(addresses(self.lines()?, functions))
    }

    fn lines(&self) -> Result<&[u8]> {
        if let Some(lines) = self.lines.get() {
            return Ok(lines);
        }
        let lines = fs::read(PATH).map_err(|error| Error::io(PATH, error))?;
        Ok(self.lines.get_or_init(|| lines))
    }
}

/// A line has address, kind, name, and a module's name in brackets.
fn has(lines: &[u8], symbol: &str) -> bool {
    lines
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(u8::is_ascii_whitespace).nth(2))
        .any(|name| name == symbol.as_bytes())
}

fn addresses(
    lines: &[u8],
    functions: impl Iterator<Item = &'static str>,
) -> HashMap<&'static str, u64> {
    let functions = functions.map(|name| (name.as_bytes(), name));
    let functions: HashMap<&[u8], &'static str> = functions.collect();
    let mut found: HashMap<&'static str, u64> = HashMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let mut words = line.split(u8::is_ascii_whitespace);
        let (address, name) = (words.next(), words.nth(1));
        let Some(name) = name.and_then(|name| functions.get(name)) else {
            continue;
        };
        let address = address.and_then(|text| std::str::from_utf8(text).ok());
        let address = address.and_then(|text| u64::from_str_radix(text, 16).ok());
        let is_only = !found.contains_key(name) && words.next().is_none();
        found.insert(name, address.filter(|_| is_only).unwrap_or_default());
    }
    found.retain(|_, address| *address != 0);
    found
}

fn extents<const COUNT: usize>(lines: &[u8], functions: [&str; COUNT]) -> [[u64; 2]; COUNT] {
    let symbols = || {
        lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let mut words = line.split(u8::is_ascii_whitespace);
            let address = std::str::from_utf8(words.next()?).ok()?;
            let address = u64::from_str_radix(address, 16).ok()?;
            Some((address, words.nth(1)?))
        })
    };
    let mut extents = [[0, u64::MAX]; COUNT];
    for (address, name) in symbols() {
        for (extent, function) in extents.iter_mut().zip(functions) {
            if name == function.as_bytes() {
                extent[0] = address;
            }
        }
    }
    for (address, _) in symbols() {
        for [start, length] in &mut extents {
            if address > *start {
                *length = (*length).min(address - *start);
            }
        }
    }
    for extent in &mut extents {
        if extent[0] == 0 || extent[1] == u64::MAX {
            *extent = [0; 2];
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_by_its_whole_name() {
        let lines = b"0000000000000000 T tcp_sendmsg\n0 t tls_sw_sendmsg\t[tls]\nhalf a\n";
        assert!(has(lines, "tcp_sendmsg"));
        assert!(has(lines, "tls_sw_sendmsg"));
        assert!(!has(lines, "tcp_send"));
        assert!(!has(lines, "[tls]"));
        assert!(!has(lines, ""));
    }

    #[test]
    fn only_an_address_that_is_sure_is_one() {
        let lines = b"ffff1000 T a\nffff1200 t b\t[m]\nffff1300 t c\nffff1400 t c\n0 T d\n\
            ffff1500 t e\nffff1600 t e\t[m]\nhalf\n";
        let found = addresses(lines, ["a", "b", "c", "d", "e", "f"].into_iter());
        assert_eq!(found, HashMap::from([("a", 0xffff_1000)]));
    }

    #[test]
    fn a_function_ends_where_the_next_symbol_begins() {
        let lines = b"ffff1000 T a\nffff1400 T c\nffff1000 t alias\nffff1200 t b\t[m]\nhalf\n";
        let found = extents(lines, ["a", "b", "c", "d"]);
        assert_eq!(found[..2], [[0xffff_1000, 0x200], [0xffff_1200, 0x200]]);
        assert_eq!(
            found[2..],
            [[0; 2]; 2],
            "one without an end, and one that is not there"
        );
        assert_eq!(extents(b"0 T hidden\n0 T too\n", ["hidden"]), [[0; 2]]);
    }
}
