//! The initramfs: the guest's program and the kernel modules that it loads.
//!
//! An archive in the "newc" format of cpio, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.
//! The same input gives the same bytes: no times, no owners, a fixed order.

use thiserror::Error;

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));

/// The program was not built together with this one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "watari was built without the guest's program: install the static C library \
     (Debian: libc6-dev, Fedora: glibc-static), `touch emulate/build.rs` and build again"
)]
pub struct NoProgram;

/// The initramfs of the guest: it loads the modules in the order given. A
/// module is its file name and content.
///
/// # Errors
///
/// When the guest's program could not be built.
pub fn initramfs(modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>, NoProgram> {
    if PROGRAM.is_empty() {
        return Err(NoProgram);
    }
    let mut archive = Archive::default();
    for directory in ["dev", "modules", "proc", "sys"] {
        archive.directory(directory);
    }
    archive.file("init", PROGRAM);
    for (index, (name, content)) in modules.iter().enumerate() {
        archive.file(&format!("modules/{index:02}-{name}"), content);
    }
    Ok(archive.end())
}

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const TRAILER: &str = "TRAILER!!!";

/// A cpio archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// Adds an executable file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, EXECUTABLE, content);
    }

    /// The archive, with the entry that ends it.
    pub fn end(mut self) -> Vec<u8> {
        self.entries = u32::MAX; // The trailer has inode 0.
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        let size = u32::try_from(content.len()).expect("files of the guest are small");
        let name = u32::try_from(path.len() + 1).expect("paths of the guest are short");
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, size, device of the file (two
        // numbers) and of its content (two numbers), length of the name, no sum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, read by the format's description.
    fn parse(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut at, mut entries) = (0, Vec::new());
        loop {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |index: usize| {
                let digits = &archive[at + 6 + 8 * index..][..8];
                usize::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, length) = (field(1), field(6), field(11));
            let name = str::from_utf8(&archive[at + 110..][..length - 1]).unwrap();
            assert_eq!(archive[at + 110 + length - 1], 0);
            if name == TRAILER {
                return entries;
            }
            let start = (at + 110 + length).next_multiple_of(4);
            let content = archive[start..start + size].to_vec();
            entries.push((name.to_string(), mode as u32, content));
            at = (start + size).next_multiple_of(4);
        }
    }

    // The header of a file "a" with the content "bc": 110 bytes and a name of 2
    // end at 112, a multiple of 4; the content is padded to 4.
    #[test]
    fn an_entry_has_the_bytes_of_the_newc_format() {
        let mut archive = Archive::default();
        archive.file("a", b"bc");
        let expected = "07070100000001000081ed0000000000000000000000010000000000000002\
                        0000000000000000000000000000000000000002000000\
                        00a\0bc\0\0";
        assert_eq!(archive.bytes, expected.as_bytes());
    }

    #[test]
    fn the_initramfs_has_the_program_and_the_modules_in_order() {
        let modules = [("z.ko", 3), ("a.ko", 5)];
        let modules = modules.map(|(name, size)| (name.to_string(), vec![1; size]));
        let Ok(archive) = initramfs(&modules) else {
            return; // No static C library here; the build said so.
        };
        let entries = parse(&archive);
        let names: Vec<_> = entries.iter().map(|(name, _, _)| name.as_str()).collect();
        let expected = [
            "dev",
            "modules",
            "proc",
            "sys",
            "init",
            "modules/00-z.ko",
            "modules/01-a.ko",
        ];
        assert_eq!(names, expected);
        assert_eq!(entries[4].1, EXECUTABLE);
        assert_eq!(&entries[4].2[..4], b"\x7fELF");
        assert_eq!(entries[6].2, [1; 5]);
    }
}
