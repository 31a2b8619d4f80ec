//! The archive that a kernel unpacks as its first file system: cpio in the format `newc`
//! (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written.
pub(super) struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    /// A folder; its parents come first.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// A file that may be run.
    pub(super) fn file(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | 0o755, (0, 0), contents)
    }

    pub(super) fn character_device(&mut self, path: &str, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | 0o600, number, &[])
    }

    /// Writes the mark of the end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        contents: &[u8],
    ) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, path.to_owned());
        let size = u32::try_from(contents.len()).map_err(too_large)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
        self.inode += 1;
        const OWNER: u32 = 0;
        const GROUP: u32 = 0;
        const LINKS: u32 = 1;
        const MODIFIED: u32 = 0;
        const ON_DEVICE: [u32; 2] = [0, 0];
        const CHECK: u32 = 0;
        let [on_major, on_minor] = ON_DEVICE;
        let fields = [
            self.inode, mode, OWNER, GROUP, LINKS, MODIFIED, size, on_major, on_minor, major,
            minor, name_size, CHECK,
        ];
        write!(self.to, "070701")?;
        for field in fields {
            write!(self.to, "{field:08X}")?;
        }
        const HEADER: usize = 6 + 13 * 8;
        write!(self.to, "{path}\0")?;
        self.pad(HEADER + path.len() + 1)?;
        self.to.write_all(contents)?;
        self.pad(contents.len())
    }

    /// Fills up to a multiple of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        for _ in written..written.next_multiple_of(4) {
            self.to.write_all(&[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_entry_is_a_header_a_name_and_contents_each_padded() {
        let mut written = Vec::new();
        let mut archive = Archive::new(&mut written);
        archive.file("init", b"#!").unwrap();
        archive.character_device("dev/console", (5, 1)).unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text.len() % 4, 0);
        let first = "070701000000010000\
                     81ED000000000000000000000001000000000000000200000000000000000000000000000000\
                     0000000500000000init\0\0#!\0\0";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("00000005000000010000000C00000000dev/console\0"));
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
    }
}
