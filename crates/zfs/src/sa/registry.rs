//! The attributes a file system has, and their numbers.

use crate::zap::{Entry, ZapValue};

/// An attribute; its number is its place here.
///
/// The first sixteen have these numbers in every pool; the others get them from the order in which
/// OpenZFS 2.1 registers them in a new file system (`zfs_attr_table`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Attribute {
    /// Time of last access: seconds, nanoseconds.
    Atime,
    /// Time of last modification.
    Mtime,
    /// Time of last change of the inode.
    Ctime,
    /// Time of creation.
    Crtime,
    /// Transaction group of creation.
    Gen,
    /// Type and permission bits.
    Mode,
    /// Bytes of a file or link target; entries of a directory and 2.
    Size,
    /// Object of the directory.
    Parent,
    /// Number of links.
    Links,
    /// Object of the directory of extended attributes.
    Xattr,
    /// Device number.
    Rdev,
    /// Flags, see [`super::flags`].
    Flags,
    /// Owner.
    Uid,
    /// Group.
    Gid,
    /// Nothing, from the time before system attributes.
    Pad,
    /// ACL of that time.
    ZnodeAcl,
    /// Number of ACL entries.
    DaclCount,
    /// Target of a symbolic link.
    Symlink,
    /// Stamp of a virus scanner.
    Scanstamp,
    /// ACL entries.
    DaclAces,
    /// Packed list of extended attributes.
    Dxattr,
    /// Project.
    Projid,
}

const COUNT: usize = Attribute::Projid as usize + 1;

/// `sa_bswap_type_t`: how a buffer of the other byte order is swapped.
const U64_ARRAY: u64 = 0;
const U8_ARRAY: u64 = 3;
const ACL: u64 = 4;

/// Name, length in bytes (0: variable), kind.
const TABLE: [(&str, u16, u64); COUNT] = [
    ("ZPL_ATIME", 16, U64_ARRAY),
    ("ZPL_MTIME", 16, U64_ARRAY),
    ("ZPL_CTIME", 16, U64_ARRAY),
    ("ZPL_CRTIME", 16, U64_ARRAY),
    ("ZPL_GEN", 8, U64_ARRAY),
    ("ZPL_MODE", 8, U64_ARRAY),
    ("ZPL_SIZE", 8, U64_ARRAY),
    ("ZPL_PARENT", 8, U64_ARRAY),
    ("ZPL_LINKS", 8, U64_ARRAY),
    ("ZPL_XATTR", 8, U64_ARRAY),
    ("ZPL_RDEV", 8, U64_ARRAY),
    ("ZPL_FLAGS", 8, U64_ARRAY),
    ("ZPL_UID", 8, U64_ARRAY),
    ("ZPL_GID", 8, U64_ARRAY),
    ("ZPL_PAD", 32, U64_ARRAY),
    ("ZPL_ZNODE_ACL", 88, U8_ARRAY),
    ("ZPL_DACL_COUNT", 8, U64_ARRAY),
    ("ZPL_SYMLINK", 0, U8_ARRAY),
    ("ZPL_SCANSTAMP", 32, U8_ARRAY),
    ("ZPL_DACL_ACES", 0, ACL),
    ("ZPL_DXATTR", 0, U8_ARRAY),
    ("ZPL_PROJID", 8, U64_ARRAY),
];

impl Attribute {
    /// Its number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its name in the registry.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].0
    }

    /// Its length in bytes, `None` if that varies.
    pub const fn length(self) -> Option<u16> {
        match TABLE[self as usize].1 {
            0 => None,
            length => Some(length),
        }
    }
}

/// The entries of the `REGISTRY` ZAP of a file system we write.
pub fn registry_zap_entries() -> impl Iterator<Item = Entry<'static>> {
    (0_u64..).zip(&TABLE).map(|(number, &(name, length, kind))| Entry {
        name: name.as_bytes(),
        value: ZapValue::U64(u64::from(length) << 24 | kind << 16 | number),
    })
}
