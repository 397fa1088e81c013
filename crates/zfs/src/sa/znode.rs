//! The attributes of an inode as a kernel stores them.

use tree::Timestamp;

use super::layout::{self, Layouts, SaEncoded};
use super::{Attribute, SaError, acl};
use crate::prelude::*;

const S_IFMT: u64 = 0o170_000;
const S_IFDIR: u64 = 0o040_000;
const S_IFREG: u64 = 0o100_000;

const ZFS_XATTR: u64 = 0x1;
const ZFS_ACL_TRIVIAL: u64 = 0x4;
const ZFS_ACL_AUTO_INHERIT: u64 = 0x40;
const ZFS_NO_EXECS_DENIED: u64 = 0x100;
const ZFS_ARCHIVE: u64 = 0x8_0000_0000;
const ZFS_AV_MODIFIED: u64 = 0x400_0000_0000;
const ZFS_PROJID: u64 = 0x8000_0000_0000;

/// An inode to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Znode<'a> {
    /// `st_mode`: type and permission bits.
    pub mode: u64,
    /// Bytes of a file or link target; a directory's entries and 2.
    pub size: u64,
    /// Transaction group of creation.
    pub generation: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Object of the directory that holds it; the root's own.
    pub parent: u64,
    /// It is an extended attribute, or a directory of them.
    pub is_xattr: bool,
    /// Time of last access.
    pub atime: Timestamp,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Time of last change.
    pub ctime: Timestamp,
    /// Time of creation.
    pub crtime: Timestamp,
    /// Number of links; a directory's subdirectories and 2.
    pub links: u64,
    /// Project, in datasets with `project_quota` active. Only files and directories store it, as
    /// in OpenZFS 2.1 to 2.4; all others count for project 0.
    pub projid: Option<u64>,
    /// `dev_t` of the kernel (major · 2²⁰ + minor) of a device.
    pub rdev: Option<u64>,
    /// Target of a symbolic link.
    pub symlink: Option<&'a [u8]>,
    /// Object of its directory of extended attributes.
    pub xattr_dir: Option<u64>,
    /// Its packed extended attributes.
    pub dxattr: Option<&'a [u8]>,
}

/// The flags of an inode with that `st_mode`, as `zfs_mknode` sets them.
pub fn flags(mode: u64, is_xattr: bool, has_projid: bool) -> u64 {
    let when = |condition: bool, flag: u64| if condition { flag } else { 0 };
    ZFS_ARCHIVE
        | ZFS_AV_MODIFIED
        | ZFS_ACL_TRIVIAL
        | when(mode & S_IFMT == S_IFDIR, ZFS_ACL_AUTO_INHERIT)
        | when(mode & 0o111 == 0o111, ZFS_NO_EXECS_DENIED)
        | when(is_xattr, ZFS_XATTR)
        | when(has_projid, ZFS_PROJID)
}

impl Znode<'_> {
    /// Stores the attributes in a bonus area of `capacity` bytes (320 in a dnode of 512 bytes) and,
    /// where that is not enough, in a spill block.
    ///
    /// The order is the kernel's: that of `zfs_mknode`, then what is added after creation. User
    /// accounting and boot loaders read owner, flags, project and link target at fixed offsets.
    pub fn encode(&self, capacity: usize, layouts: &mut Layouts) -> Result<SaEncoded, SaError> {
        fn time(time: Timestamp) -> [u8; 16] {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&time.seconds.to_le_bytes());
            bytes[8..12].copy_from_slice(&time.nanoseconds.to_le_bytes());
            bytes
        }
        let file_type = self.mode & S_IFMT;
        let projid = self.projid.filter(|_| file_type == S_IFREG || file_type == S_IFDIR);
        let aces = acl::trivial(self.mode, file_type == S_IFDIR);
        let flags = flags(self.mode, self.is_xattr, projid.is_some());
        let [mode, size, generation, uid, gid, parent, flags, links, count] = [
            self.mode,
            self.size,
            self.generation,
            self.uid,
            self.gid,
            self.parent,
            flags,
            self.links,
            (aces.len() / acl::ACE_SIZE) as u64,
        ]
        .map(u64::to_le_bytes);
        let [atime, mtime, ctime, crtime] =
            [self.atime, self.mtime, self.ctime, self.crtime].map(time);
        let [projid, rdev, xattr_dir] =
            [projid, self.rdev, self.xattr_dir].map(|value| value.map(u64::to_le_bytes));

        let mut attributes: Vec<(Attribute, &[u8])> = vec![
            (Attribute::Mode, &mode),
            (Attribute::Size, &size),
            (Attribute::Gen, &generation),
            (Attribute::Uid, &uid),
            (Attribute::Gid, &gid),
            (Attribute::Parent, &parent),
            (Attribute::Flags, &flags),
            (Attribute::Atime, &atime),
            (Attribute::Mtime, &mtime),
            (Attribute::Ctime, &ctime),
            (Attribute::Crtime, &crtime),
            (Attribute::Links, &links),
        ];
        attributes.extend(projid.as_ref().map(|id| (Attribute::Projid, &id[..])));
        attributes.extend(rdev.as_ref().map(|rdev| (Attribute::Rdev, &rdev[..])));
        attributes.push((Attribute::DaclCount, &count));
        attributes.push((Attribute::DaclAces, &aces));
        attributes.extend(self.symlink.map(|target| (Attribute::Symlink, target)));
        attributes.extend(xattr_dir.as_ref().map(|object| (Attribute::Xattr, &object[..])));
        attributes.extend(self.dxattr.map(|list| (Attribute::Dxattr, list)));
        layout::encode(&attributes, capacity, layouts)
    }
}
