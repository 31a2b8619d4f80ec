//! Which functions and variables the running kernel has, from `/proc/kallsyms`.

use std::{cell::OnceCell, fs};

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
        let lines = match self.lines.get() {
            Some(lines) => lines,
            None => {
                let lines = fs::read(PATH).map_err(|error| Error::io(PATH, error))?;
                self.lines.get_or_init(|| lines)
            }
        };
        Ok(has(lines, symbol))
    }
}

/// A line has address, kind, name, and a module's name in brackets.
fn has(lines: &[u8], symbol: &str) -> bool {
    lines
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(u8::is_ascii_whitespace).nth(2))
        .any(|name| name == symbol.as_bytes())
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
}
