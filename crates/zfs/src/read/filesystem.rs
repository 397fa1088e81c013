//! File systems: directories, inodes, contents, extended attributes.
//!
//! Source: OpenZFS `module/zfs/zfs_znode.c`, `module/os/linux/zfs/zfs_vnops_os.c`,
//! `zpl_xattr.c`.

use alloc::collections::BTreeMap;

use tree::{Device, Xattrs};

use super::objset::{INODE_BONUS, ObjsetKind};
use super::znode::SaTable;
use super::{Attributes, Object, Objset, ReadError, zap};
use crate::dnode::object_type;
use crate::nvlist::{Value, decode_xdr};
use crate::prelude::*;
use crate::zap::OwnedValue;

const MASTER_NODE: u64 = 1;
const S_IFMT: u64 = 0o170_000;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 64 << 10;
/// Largest extended attribute that is read; Linux writes at most 64 KiB.
const MAX_XATTR: u64 = 16 << 20;
/// The kernel's limit of symbolic links in one path.
const MAX_LINKS: u32 = 40;

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// None of these.
    Unknown,
}

/// An inode.
#[derive(Debug, Clone)]
pub struct Inode<'p> {
    /// The object that holds its content.
    pub object: Object<'p>,
    /// What it says of itself.
    pub attributes: Attributes,
}

impl Inode<'_> {
    /// Its kind.
    pub fn kind(&self) -> InodeKind {
        match self.attributes.mode & S_IFMT {
            0o040_000 => InodeKind::Directory,
            0o100_000 => InodeKind::File,
            0o120_000 => InodeKind::Symlink,
            0o020_000 => InodeKind::CharDevice,
            0o060_000 => InodeKind::BlockDevice,
            0o010_000 => InodeKind::Fifo,
            0o140_000 => InodeKind::Socket,
            _ => InodeKind::Unknown,
        }
    }

    /// The device number as Linux writes it (major · 2²⁰ + minor) or as others do
    /// (major · 2³² + minor).
    pub fn device(&self) -> Device {
        let rdev = self.attributes.rdev;
        match (rdev >> 32) as u32 {
            0 => Device { major: (rdev >> 20) as u32, minor: (rdev & 0xf_ffff) as u32 },
            major => Device { major, minor: rdev as u32 },
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Box<[u8]>,
    /// The object of the inode.
    pub object: u64,
    /// The kind as the directory has it (`DT_REG` and so on), 0 if it does not.
    pub kind: u8,
}

/// A file system.
#[derive(Debug)]
pub struct Filesystem<'p> {
    /// Its object set.
    pub objset: Objset<'p>,
    /// Object of the root directory.
    pub root: u64,
    /// Version of the file system, 5 for all with system attributes.
    pub version: u64,
    /// Object of the set of files that were removed while they were open.
    pub unlinked: Option<u64>,
    /// Object of the directory that FreeBSD keeps for shares, which has no name.
    pub(crate) shares: Option<u64>,
    sa: SaTable,
}

impl<'p> Filesystem<'p> {
    /// The file system in an object set.
    pub fn open(objset: Objset<'p>) -> Result<Self, ReadError> {
        if objset.kind != ObjsetKind::Filesystem {
            let what = objset.name().to_owned();
            return Err(ReadError::WrongKind { what, expected: "a file system" });
        }
        let master = objset.object_of_type(MASTER_NODE, &[object_type::MASTER_NODE])?;
        let numbers: BTreeMap<Box<[u8]>, u64> = zap::entries(&master)?
            .into_iter()
            .filter_map(|entry| match entry.value {
                OwnedValue::U64(value) => Some((entry.name, value)),
                _ => None,
            })
            .collect();
        let number = |name: &str| numbers.get(name.as_bytes()).copied();
        let root = number("ROOT").ok_or_else(|| master.damaged("it names no root directory"))?;
        let sa = match number("SA_ATTRS") {
            Some(table) => SaTable::load(&objset, table)?,
            None => SaTable::default(),
        };
        let (version, unlinked) = (number("VERSION").unwrap_or(0), number("DELETE_QUEUE"));
        let shares = number("SHARES");
        Ok(Self { root, version, unlinked, shares, sa, objset })
    }

    /// The inode of an object.
    pub fn inode(&self, object: u64) -> Result<Inode<'p>, ReadError> {
        self.inode_of(self.objset.object(object)?)
    }

    /// The inode that an object is.
    pub(crate) fn inode_of(&self, object: Object<'p>) -> Result<Inode<'p>, ReadError> {
        let attributes = Attributes::read(&object, &self.sa)?;
        Ok(Inode { object, attributes })
    }

    /// Whether an object is an inode, by its bonus area.
    pub(crate) fn is_inode(object: &Object<'_>) -> bool {
        INODE_BONUS.contains(&object.dnode.bonus_type)
            && matches!(
                object.dnode.object_type,
                object_type::PLAIN_FILE_CONTENTS | object_type::DIRECTORY_CONTENTS
            )
    }

    /// The entries of a directory, sorted by name.
    pub fn read_dir(&self, directory: &Inode<'p>) -> Result<Vec<DirEntry>, ReadError> {
        if directory.kind() != InodeKind::Directory {
            let what = directory.object.describe();
            return Err(ReadError::WrongKind { what, expected: "a directory" });
        }
        let entries = self.entries_of(&directory.object)?;
        match bad_name(&entries) {
            Some(problem) => Err(directory.object.damaged(problem)),
            None => Ok(entries),
        }
    }

    /// The entries of a directory that can be read and that a directory can have, sorted by name, and the
    /// first reason why these are not all.
    pub fn readable_entries(&self, directory: &Inode<'p>) -> (Vec<DirEntry>, Option<ReadError>) {
        if directory.kind() != InodeKind::Directory {
            return (Vec::new(), self.read_dir(directory).err());
        }
        let (mut entries, error) = self.readable_names(directory);
        let bad = bad_name(&entries).map(|problem| directory.object.damaged(problem));
        entries.retain(|entry| is_name(&entry.name));
        entries.dedup_by(|later, first| later.name == first.name);
        (entries, error.or(bad))
    }

    /// The same with whatever names are there.
    pub(crate) fn readable_names(
        &self,
        directory: &Inode<'p>,
    ) -> (Vec<DirEntry>, Option<ReadError>) {
        let (entries, error) = zap::readable_entries(&directory.object);
        let entries = entries.into_iter().filter_map(|entry| match entry.value {
            OwnedValue::U64(value) => Some(dir_entry(entry.name, value)),
            _ => None,
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        (entries, error)
    }

    /// The entries of a directory with whatever names are there: those of extended attributes may have
    /// slashes.
    pub(crate) fn entries_of(&self, object: &Object<'p>) -> Result<Vec<DirEntry>, ReadError> {
        let entries = zap::entries(object)?;
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|entry| match entry.value {
                OwnedValue::U64(value) => Ok(dir_entry(entry.name, value)),
                _ => Err(object.damaged("an entry is not a number")),
            })
            .collect::<Result<_, _>>()?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The entry of that name, byte for byte.
    pub fn lookup(
        &self,
        directory: &Inode<'p>,
        name: &[u8],
    ) -> Result<Option<DirEntry>, ReadError> {
        if directory.kind() != InodeKind::Directory {
            let what = directory.object.describe();
            return Err(ReadError::WrongKind { what, expected: "a directory" });
        }
        let value = zap::number(&directory.object, name)?;
        Ok(value.map(|value| dir_entry(name.into(), value)))
    }

    /// The inode at a path from the root. Symbolic links on the way are followed inside this file
    /// system, the last one if `follow` says so.
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<Inode<'p>, ReadError> {
        let lossy = || format!("{:?} in {}", String::from_utf8_lossy(path), self.objset.name());
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
            parts.rev().map(<[u8]>::to_vec).collect()
        };
        let mut todo = parts(path);
        let mut at = vec![self.inode(self.root)?];
        let mut links = 0;
        let mut last_link = None;
        let not_found = |link: &Option<(Vec<u8>, Box<[u8]>)>| {
            let what = match link {
                None => lossy(),
                Some((link, target)) => format!(
                    "{:?}, which the symbolic link {:?} in {} points to,",
                    String::from_utf8_lossy(target),
                    String::from_utf8_lossy(link),
                    self.objset.name()
                ),
            };
            ReadError::NotFound { what }
        };
        while let Some(part) = todo.pop() {
            match &*part {
                b"." => continue,
                b".." => {
                    if at.len() > 1 {
                        at.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let Some(here) = at.last() else { break };
            if here.kind() != InodeKind::Directory {
                return Err(not_found(&last_link));
            }
            let entry = self.lookup(here, &part)?;
            let entry = entry.ok_or_else(|| not_found(&last_link))?;
            let inode = self.inode(entry.object)?;
            if inode.kind() == InodeKind::Symlink && (follow || !todo.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    let problem = "it leads through too many symbolic links";
                    return Err(ReadError::damaged(lossy(), problem));
                }
                let target = self.read_link(&inode)?;
                if target.first() == Some(&b'/') {
                    at.truncate(1);
                }
                // What is behind the link on the path may be missing as well as its target.
                let whole = if todo.is_empty() { path.to_vec() } else { part };
                last_link = Some((whole, target.clone()));
                todo.extend(parts(&target));
            } else {
                at.push(inode);
            }
        }
        at.pop().ok_or_else(|| ReadError::NotFound { what: lossy() })
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, inode: &Inode<'p>) -> Result<Box<[u8]>, ReadError> {
        if let Some(target) = &inode.attributes.symlink {
            return Ok(target.clone());
        }
        Ok(inode.object.read_start(inode.attributes.size, MAX_TARGET)?.into())
    }

    /// All extended attributes by their full names, of both kinds; those in the inode go first.
    pub fn xattrs(&self, inode: &Inode<'p>) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::new();
        if let Some(number) = inode.attributes.xattr_dir {
            let directory = self.inode(number)?;
            for entry in self.entries_of(&directory.object)? {
                // Attributes of the system that Solaris keeps here.
                if entry.name.starts_with(b"SUNWattr_") {
                    continue;
                }
                let file = self.inode(entry.object)?;
                let value = file.object.read_start(file.attributes.size, MAX_XATTR)?;
                xattrs.insert(full_name(&entry.name), value.into());
            }
        }
        if let Some(packed) = inode.attributes.dxattr.as_deref().filter(|list| !list.is_empty()) {
            let list = decode_xdr(packed).map_err(|source| ReadError::Nvlist {
                what: format!("the extended attributes of {}", inode.object.describe()),
                source,
            })?;
            for (name, value) in list.iter() {
                if let Value::Bytes(value) = value {
                    xattrs.insert(full_name(name), value.clone());
                }
            }
        }
        Ok(xattrs)
    }

    /// Fills the start of `buffer` with the content of a file from `offset` on; tells how much there
    /// was.
    pub fn read_file(
        &self,
        inode: &Inode<'p>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, ReadError> {
        let left = inode.attributes.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            inode.object.read_at(offset, buffer)?;
        }
        Ok(length)
    }
}

/// Whether a directory can have an entry of that name: others would lead out of it.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// What is wrong with the first name, of entries sorted by name, that is none or is there twice.
pub(crate) fn bad_name(entries: &[DirEntry]) -> Option<String> {
    let none = entries.iter().find(|entry| !is_name(&entry.name));
    let none =
        none.map(|entry| format!("the name \"{}\" cannot be in it", entry.name.escape_ascii()));
    none.or_else(|| {
        let twice = entries.windows(2).find_map(|two| match two {
            [one, other] if one.name == other.name => Some(&one.name),
            _ => None,
        });
        twice.map(|name| format!("the name \"{}\" is in it twice", name.escape_ascii()))
    })
}

fn dir_entry(name: Box<[u8]>, value: u64) -> DirEntry {
    DirEntry { name, object: value & ((1 << 48) - 1), kind: (value >> 60) as u8 }
}

/// Attributes of other systems have no name space; Linux shows them as those of users.
fn full_name(name: &[u8]) -> Box<[u8]> {
    let spaces: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if spaces.iter().any(|space| name.starts_with(space)) {
        return name.into();
    }
    [b"user.", name].concat().into()
}
