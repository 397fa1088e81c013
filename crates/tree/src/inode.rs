//! What one inode is: attributes and kind.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::{Digest, InodeId};

/// Seconds and nanoseconds since 1970-01-01 UTC; negative seconds lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 10⁹.
    pub nanoseconds: u32,
}

/// Extended attributes by their full name (`user.x`, `security.capability`,
/// `system.posix_acl_access`, …); POSIX ACLs are in the kernel's version 2 little-endian encoding.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The attributes every kind of inode has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: Kind,
}

/// The kind of an inode with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    File(File),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// Directory entries, sorted by name. `.` and `..` are not entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    pub(crate) entries: BTreeMap<Box<[u8]>, InodeId>,
}

impl Directory {
    /// Entries in order of their names' bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], InodeId)> {
        self.entries.iter().map(|(name, &id)| (&**name, id))
    }

    /// The inode called `name`.
    pub fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.entries.get(name).copied()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A run of data inside a file; between the runs are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes, never 0.
    pub length: u64,
}

/// The content of a regular file: the blob holds its data runs one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Length in bytes, holes included.
    pub size: u64,
    /// Name of the blob.
    pub blob: Digest,
    /// `None`: no holes, the blob is the file. Otherwise the data runs, ascending, neither
    /// overlapping nor touching, all inside `size`.
    pub extents: Option<Box<[Extent]>>,
}

impl File {
    /// A file without holes.
    pub fn dense(size: u64, blob: Digest) -> Self {
        Self { size, blob, extents: None }
    }

    /// Length of the blob: the size without holes.
    pub fn data_size(&self) -> u64 {
        match &self.extents {
            None => self.size,
            Some(extents) => extents.iter().map(|extent| extent.length).sum(),
        }
    }
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number (12 bits in Linux).
    pub major: u32,
    /// Minor number (20 bits in Linux).
    pub minor: u32,
}
