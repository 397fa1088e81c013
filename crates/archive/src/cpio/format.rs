//! Layout of the "new ASCII" header: a magic number and 13 numbers of 8 hexadecimal digits.
//!
//! Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

use tree::Device;

/// Length of the header in bytes; the name follows.
pub(crate) const LENGTH: usize = 110;
/// Name of the last entry of an archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";
/// Headers, and the data after header and name, start at multiples of this.
pub(crate) const ALIGNMENT: u64 = 4;
/// Linux's PATH_MAX, closing NUL included; also its limit for targets of symbolic links.
pub(crate) const NAME_LIMIT: u32 = 4096;

pub(crate) const MAGIC: [u8; 6] = *b"070701";
/// With a sum over each file's bytes.
pub(crate) const MAGIC_SUM: [u8; 6] = *b"070702";

/// The numbers of a header, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) has_sum: bool,
    pub(crate) inode: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) mtime: u32,
    pub(crate) size: u32,
    pub(crate) device: Device,
    pub(crate) rdev: Device,
    /// Length of the name with its closing NUL.
    pub(crate) name_size: u32,
    pub(crate) sum: u32,
}

impl Header {
    /// `None`: not a header.
    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let has_sum = match bytes[..6] {
            _ if bytes[..6] == MAGIC => false,
            _ if bytes[..6] == MAGIC_SUM => true,
            _ => return None,
        };
        let mut numbers = [0_u32; 13];
        for (number, digits) in numbers.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let [inode, mode, uid, gid, links, mtime, size, rest @ ..] = numbers;
        let [major, minor, rdev_major, rdev_minor, name_size, sum] = rest;
        let device = Device { major, minor };
        let rdev = Device { major: rdev_major, minor: rdev_minor };
        Some(Self {
            has_sum,
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            device,
            rdev,
            name_size,
            sum,
        })
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = if self.has_sum { MAGIC_SUM } else { MAGIC }.to_vec();
        for number in [
            self.inode,
            self.mode,
            self.uid,
            self.gid,
            self.links,
            self.mtime,
            self.size,
            self.device.major,
            self.device.minor,
            self.rdev.major,
            self.rdev.minor,
            self.name_size,
            self.sum,
        ] {
            bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        bytes
    }
}
