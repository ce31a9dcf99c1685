//! An initial file system: the archive format `newc`, which the kernel unpacks.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

/// Files, with the directories they are in.
#[derive(Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Cpio {
    /// Adds a file that everybody may run, with the directories above it. `path` is absolute. Does
    /// nothing if it is there already.
    pub(super) fn add(&mut self, path: &str, content: &[u8]) {
        let name = path.trim_start_matches('/');
        for (end, _) in name.match_indices('/') {
            self.entry(&name[..end], DIRECTORY, &[]);
        }
        self.entry(name, PROGRAM, content);
    }

    /// The whole archive.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.entry(END, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let inode = self.names.len();
        // Inode, mode, owner, group, links, time, size, two device numbers twice, the name's length
        // with its zero byte, and a checksum that nobody looks at.
        let (size, length) = (content.len(), name.len() + 1);
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{length:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_its_directories_once() {
        let mut cpio = Cpio::default();
        cpio.add("/lib/a/x.so", b"12345");
        cpio.add("/lib/a/y.so", b"");
        let names: Vec<_> = cpio.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["lib", "lib/a", "lib/a/x.so", "lib/a/y.so"]);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut cpio = Cpio::default();
        cpio.add("/init", b"#!x");
        let bytes = cpio.into_bytes();
        // A header of 110 bytes and a name of five are padded by one; so is the content.
        assert_eq!(bytes.len(), 116 + 4 + 124);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ed");
        assert_eq!(&bytes[54..62], b"00000003");
        assert_eq!(&bytes[94..102], b"00000005");
        assert_eq!(&bytes[110..120], b"init\0\0#!x\0");
        assert_eq!(&bytes[120 + 110..], b"TRAILER!!!\0\0\0\0");
    }
}
