//! Archives as the kernel unpacks them into its first file system: cpio in the "newc" format
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of Linux).

/// An archive that is being written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// The kind of an entry, with its permissions.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Folder = 0o040_755,
    Program = 0o100_755,
    File = 0o100_644,
    CharacterDevice = 0o020_600,
}

impl Archive {
    /// Adds a folder. Those above it have to come before it.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, Mode::Folder, (0, 0), &[]);
    }

    /// Adds a file that can be run.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, Mode::Program, (0, 0), contents);
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, Mode::File, (0, 0), contents);
    }

    /// Adds a character device by its numbers.
    pub(crate) fn device(&mut self, path: &str, numbers: (u32, u32)) {
        self.entry(path, Mode::CharacterDevice, numbers, &[]);
    }

    /// Returns the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", Mode::File, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: Mode, (major, minor): (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let fields = [
            self.entries,
            mode as u32,
            0, // owner
            0, // group
            1, // links
            0, // time
            size,
            0, // device of the file system
            0,
            major,
            minor,
            name_size,
            0, // checksum, which this format does not have
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    /// Every name and every file's contents end at a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_header_its_name_and_its_contents() {
        let mut archive = Archive::default();
        archive.file("a", b"12345");
        let bytes = archive.bytes;
        let header = "070701000000010000 81a4 0000000000000000 00000001 00000000 00000005 \
                      0000000000000000 0000000000000000 00000002 00000000"
            .replace(' ', "");
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..], b"a\x0012345\0\0\0");
    }

    #[test]
    fn everything_begins_at_a_multiple_of_four_and_the_end_is_marked() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.device("dev/console", (5, 1));
        archive.program("init", b"#!/bin/sh\n");
        let bytes = archive.finish();
        let starts: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, window)| window == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
