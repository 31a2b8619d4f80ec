//! `/proc/PID/mountinfo`: what is mounted where.

use super::lines::{Lines, parse_lines};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `major:minor`: one number for each file system, however often it is mounted.
    pub(crate) device: (u32, u32),
    /// A path, in whatever bytes it is made of.
    pub(crate) mount_point: Vec<u8>,
    /// `ext4`, `fuse.sshfs`, …
    pub(crate) kind: String,
    /// A device's path, or what the file system calls its source.
    pub(crate) source: String,
}

/// Every mount, in the order they were made.
pub(crate) fn parse_mounts(text: &[u8]) -> Lines<Mount> {
    parse_lines(text, |line| {
        if line.is_empty() {
            return Ok(None);
        }
        // A source may be empty, which leaves two spaces: split at each one.
        let mut columns = line.split(|&byte| byte == b' ');
        let mut next = || columns.next().ok_or("too few columns");
        let (_id, _parent) = (next()?, next()?);
        let device = device(next()?).ok_or("no device number")?;
        let _root = next()?;
        let mount_point = unescape(next()?);
        let _options = next()?;
        // Optional fields, ended by a dash.
        while next()? != b"-" {}
        let kind = String::from_utf8_lossy(&unescape(next()?)).into_owned();
        let source = String::from_utf8_lossy(&unescape(next()?)).into_owned();
        Ok(Some(Mount {
            device,
            mount_point,
            kind,
            source,
        }))
    })
}

fn device(column: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(column).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's `\040` for space, tab, newline, backslash and `#`.
fn unescape(column: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(column.len());
    let mut rest = column;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(line: &str) -> Mount {
        let lines = parse_mounts(line.as_bytes());
        assert_eq!(lines.bad, []);
        lines.rows.into_iter().next().unwrap()
    }

    #[test]
    fn optional_fields_do_not_shift_the_columns() {
        let plain = mount("21 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n");
        let shared = mount("21 0 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw\n");
        assert_eq!(plain, shared);
        assert_eq!(plain.device, (8, 1));
        assert_eq!(plain.kind, "ext4");
        assert_eq!(plain.source, "/dev/sda1");
    }

    #[test]
    fn escaped_spaces_newlines_and_backslashes_are_undone() {
        let odd = mount(r"71 47 0:39 /r /mnt/a\040b\012c\134d rw - tmpfs src\040\043x rw");
        assert_eq!(odd.mount_point, b"/mnt/a b\nc\\d");
        assert_eq!(odd.source, "src #x");
    }

    #[test]
    fn a_mount_without_a_source_is_read() {
        assert_eq!(mount("1 1 0:5 / /x rw - tmpfs  rw").source, "");
    }

    #[test]
    fn a_cut_line_costs_that_line() {
        let lines = parse_mounts(b"1 1 0:5 / /x rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        assert_eq!(lines.rows.len(), 1);
        assert_eq!(lines.bad.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_and_bad_lines_never_a_panic(bytes: Vec<u8>) {
            parse_mounts(&bytes);
        }

        #[test]
        fn what_the_kernel_escapes_is_undone(name: Vec<u8>) {
            let escaped: Vec<u8> = name.iter().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![*byte],
            }).collect();
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
