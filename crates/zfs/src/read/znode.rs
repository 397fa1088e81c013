//! The attributes of inodes, from system attributes or from the fixed form before them.
//!
//! Source: OpenZFS `module/zfs/sa.c`, `include/sys/zfs_znode.h`, `include/sys/zfs_sa.h`.

use hashbrown::HashMap;

use tree::Timestamp;

use super::dnode::u64_at;
use super::{Object, Objset, ReadError, zap};
use crate::dnode::object_type::SA;
use crate::prelude::*;
use crate::sa::{Attribute, SaError};
use crate::zap::OwnedValue;

/// `DMU_OT_ZNODE`: bonus areas of file systems before version 5.
pub(crate) const OLD_ZNODE: u8 = 17;

const MAGIC: u32 = 0x2F_505A;
const LAYOUT_BITS: u32 = 10;
/// Longest list of attributes that a layout may have.
const MAX_LAYOUT: usize = 1024;

/// What an inode says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `st_mode`: type and permission bits.
    pub mode: u64,
    /// Bytes of a file or link target; entries of a directory and 2.
    pub size: u64,
    /// Number of links; of a directory: subdirectories and 2.
    pub links: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Project, if it has one.
    pub projid: Option<u64>,
    /// Transaction group of its creation.
    pub generation: u64,
    /// Object of the directory that holds it.
    pub parent: u64,
    /// Flags (`ZFS_XATTR`, `ZFS_IMMUTABLE`, …).
    pub flags: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation.
    pub crtime: Timestamp,
    /// Device number as it is stored.
    pub rdev: u64,
    /// Object of its directory of extended attributes.
    pub xattr_dir: Option<u64>,
    /// Target of a symbolic link, if it is kept here.
    pub symlink: Option<Box<[u8]>>,
    /// Packed list of extended attributes.
    pub dxattr: Option<Box<[u8]>>,
    /// Number of ACL entries.
    pub acl_count: u64,
    /// ACL entries as they are stored (`zfs_ace_hdr_t` and what follows).
    pub acl: Option<Box<[u8]>>,
}

/// Which attributes a file system has, and in which orders.
#[derive(Debug, Default)]
pub(crate) struct SaTable {
    /// Length by number, 0 if variable.
    lengths: HashMap<u16, u16>,
    /// Name by number.
    names: HashMap<u16, Box<[u8]>>,
    layouts: HashMap<u16, Box<[u16]>>,
}

impl SaTable {
    /// Reads the tables that the master node points to.
    pub(crate) fn load(objset: &Objset<'_>, master: u64) -> Result<Self, ReadError> {
        let master = objset.object(master)?;
        let object = |name: &str| {
            let number = zap::number(&master, name.as_bytes())?;
            let number = number.ok_or_else(|| master.damaged(format!("it has no {name}")))?;
            objset.object(number)
        };
        let mut table = Self::default();
        for entry in zap::entries(&object("REGISTRY")?)? {
            if let OwnedValue::U64(value) = entry.value {
                table.lengths.insert(value as u16, (value >> 24) as u16);
                table.names.insert(value as u16, entry.name);
            }
        }
        for entry in zap::entries(&object("LAYOUTS")?)? {
            let number = core::str::from_utf8(&entry.name).ok().and_then(|name| name.parse().ok());
            if let (Some(number), OwnedValue::U16s(layout)) = (number, entry.value)
                && layout.len() <= MAX_LAYOUT
            {
                table.layouts.insert(number, layout);
            }
        }
        Ok(table)
    }

    /// Calls `found` with name, value, and whether its words are big-endian, for each attribute.
    pub(crate) fn decode<'b>(
        &self,
        buffer: &'b [u8],
        mut found: impl FnMut(&[u8], &'b [u8], bool),
    ) -> Result<(), SaError> {
        let start: [u8; 4] = *buffer.first_chunk().ok_or(SaError::Damaged("it is cut off"))?;
        let big_endian = match u32::from_le_bytes(start) {
            MAGIC => false,
            magic if magic == MAGIC.swap_bytes() => true,
            _ => return Err(SaError::Damaged("its magic number is wrong")),
        };
        let u16_at = |at: usize| {
            let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
            let bytes = *bytes.ok_or(SaError::Damaged("it is cut off"))?;
            Ok(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let layout_and_header = u16_at(4)?;
        let number = layout_and_header & ((1 << LAYOUT_BITS) - 1);
        let mut at = usize::from(layout_and_header >> LAYOUT_BITS) * 8;
        let mut length_at = 6;
        let layout = match (number, self.layouts.get(&number)) {
            (_, Some(layout)) => &**layout,
            // The layout of an empty buffer is not stored.
            (1, None) => &[],
            _ => return Err(SaError::UnknownLayout(number)),
        };
        for attribute in layout {
            let length = self.lengths.get(attribute);
            let mut length = *length.ok_or(SaError::UnknownAttribute(*attribute))?;
            if length == 0 {
                length = u16_at(length_at)?;
                length_at += 2;
            }
            let end = at + usize::from(length);
            let value = buffer.get(at..end).ok_or(SaError::Damaged("a value is cut off"))?;
            let name = self.names.get(attribute).map_or(&[][..], |name| name);
            found(name, value, big_endian);
            at = end.next_multiple_of(8);
        }
        Ok(())
    }
}

fn word(value: &[u8], at: usize, big_endian: bool) -> u64 {
    let word = u64_at(value, 8 * at);
    if big_endian { word.swap_bytes() } else { word }
}

fn time(seconds: u64, nanoseconds: u64) -> Timestamp {
    Timestamp { seconds: seconds.cast_signed(), nanoseconds: nanoseconds.min(999_999_999) as u32 }
}

impl Attributes {
    fn take(&mut self, name: &[u8], value: &[u8], big_endian: bool) {
        let number = || word(value, 0, big_endian);
        let moment = || time(number(), word(value, 1, big_endian));
        let is = |attribute: Attribute| name == attribute.name().as_bytes();
        match () {
            () if is(Attribute::Mode) => self.mode = number(),
            () if is(Attribute::Size) => self.size = number(),
            () if is(Attribute::Gen) => self.generation = number(),
            () if is(Attribute::Uid) => self.uid = number(),
            () if is(Attribute::Gid) => self.gid = number(),
            () if is(Attribute::Parent) => self.parent = number(),
            () if is(Attribute::Flags) => self.flags = number(),
            () if is(Attribute::Atime) => self.atime = moment(),
            () if is(Attribute::Mtime) => self.mtime = moment(),
            () if is(Attribute::Ctime) => self.ctime = moment(),
            () if is(Attribute::Crtime) => self.crtime = moment(),
            () if is(Attribute::Links) => self.links = number(),
            () if is(Attribute::Xattr) => self.xattr_dir = Some(number()).filter(|dir| *dir != 0),
            () if is(Attribute::Rdev) => self.rdev = number(),
            () if is(Attribute::Projid) => self.projid = Some(number()),
            () if is(Attribute::Symlink) => self.symlink = Some(value.into()),
            () if is(Attribute::Dxattr) => self.dxattr = Some(value.into()),
            () if is(Attribute::DaclCount) => self.acl_count = number(),
            () if is(Attribute::DaclAces) => self.acl = Some(value.into()),
            () => {}
        }
    }

    /// The attributes of an object, whose bonus area is of the one kind or the other.
    pub(crate) fn read(object: &Object<'_>, table: &SaTable) -> Result<Self, ReadError> {
        let mut attributes = Self::default();
        match object.dnode.bonus_type {
            OLD_ZNODE => attributes.take_old(&object.dnode.bonus),
            SA => {
                let wrong = |source| ReadError::Sa { what: object.describe(), source };
                let take = |name: &[u8], value: &[u8], big: bool| attributes.take(name, value, big);
                table.decode(&object.dnode.bonus, take).map_err(wrong)?;
                if let Some(spill) = object.dnode.spill.filter(|bp| !bp.is_hole()) {
                    let block = object.data(&spill)?;
                    let take =
                        |name: &[u8], value: &[u8], big: bool| attributes.take(name, value, big);
                    table.decode(&block, take).map_err(wrong)?;
                }
            }
            other => {
                let name = super::object_type::name(other);
                return Err(object.damaged(format!("its bonus area is a {name}, not an inode")));
            }
        }
        Ok(attributes)
    }

    /// `znode_phys_t`.
    fn take_old(&mut self, bonus: &[u8]) {
        const SIZE: usize = 264;
        let word = |at: usize| u64_at(bonus, 8 * at);
        self.atime = time(word(0), word(1));
        self.mtime = time(word(2), word(3));
        self.ctime = time(word(4), word(5));
        self.crtime = time(word(6), word(7));
        self.generation = word(8);
        self.mode = word(9);
        self.size = word(10);
        self.parent = word(11);
        self.links = word(12);
        self.xattr_dir = Some(word(13)).filter(|dir| *dir != 0);
        self.rdev = word(14);
        self.flags = word(15);
        self.uid = word(16);
        self.gid = word(17);
        let target = usize::try_from(self.size).ok().and_then(|size| size.checked_add(SIZE));
        if self.mode & 0o170_000 == 0o120_000 {
            self.symlink = target.and_then(|end| bonus.get(SIZE..end)).map(|target| target.into());
        }
    }
}
