//! Writes small archives, the same bytes for the same calls.

use std::io::{self, Write};

use tree::Device;

use super::format::{ALIGNMENT, Header, NAME_LIMIT, TRAILER};

/// Writes an archive: owner 0, time 0, inodes numbered in order. Linux wants directories before what
/// is in them.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    /// An archive that starts here; in an initramfs, at a multiple of 4 bytes.
    pub fn new(output: W) -> Self {
        Self { output, inode: 0 }
    }

    /// Adds a directory with these permissions.
    pub fn directory(&mut self, path: &str, permissions: u16) -> io::Result<()> {
        self.entry(path, 0o040_000 | u32::from(permissions), NO_DEVICE, b"")
    }

    /// Adds a regular file with these permissions.
    pub fn file(&mut self, path: &str, permissions: u16, data: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | u32::from(permissions), NO_DEVICE, data)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        if target.len() >= NAME_LIMIT as usize {
            return Err(invalid(format!("the target of {path:?} is longer than 4095 bytes")));
        }
        self.entry(path, 0o120_777, NO_DEVICE, target.as_bytes())
    }

    /// Adds a character device with these permissions.
    pub fn char_device(&mut self, path: &str, permissions: u16, device: Device) -> io::Result<()> {
        self.entry(path, 0o020_000 | u32::from(permissions), device, b"")
    }

    /// Writes the trailer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        let header = Header { links: 1, ..EMPTY };
        write_entry(&mut self.output, header, TRAILER, b"")?;
        Ok(self.output)
    }

    fn entry(&mut self, path: &str, mode: u32, rdev: Device, data: &[u8]) -> io::Result<()> {
        if path.is_empty() || path.len() >= NAME_LIMIT as usize || path.contains('\0') {
            return Err(invalid(format!("{path:?} is not a path of 1 to 4095 bytes")));
        }
        let size = u32::try_from(data.len())
            .map_err(|_| invalid(format!("{path:?} does not fit into a cpio archive (4 GiB)")))?;
        self.inode += 1;
        let header = Header { inode: self.inode, mode, links: 1, size, rdev, ..EMPTY };
        write_entry(&mut self.output, header, path.as_bytes(), data)
    }
}

const NO_DEVICE: Device = Device { major: 0, minor: 0 };

const EMPTY: Header = Header {
    has_sum: false,
    inode: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    links: 0,
    mtime: 0,
    size: 0,
    device: NO_DEVICE,
    rdev: NO_DEVICE,
    name_size: 0,
    sum: 0,
};

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn write_entry(
    output: &mut impl Write,
    header: Header,
    name: &[u8],
    data: &[u8],
) -> io::Result<()> {
    let name_size = name.len() as u32 + 1;
    let mut start = Header { name_size, ..header }.to_bytes();
    start.extend_from_slice(name);
    start.push(0);
    start.resize(start.len().next_multiple_of(ALIGNMENT as usize), 0);
    output.write_all(&start)?;
    output.write_all(data)?;
    let padding = data.len().next_multiple_of(ALIGNMENT as usize) - data.len();
    output.write_all(&[0; ALIGNMENT as usize][..padding])
}
