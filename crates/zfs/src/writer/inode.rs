//! From an inode of a tree to what a file system keeps of it.

use tree::{Device, Digest, Inode, Kind};

use crate::dnode::{BONUS_SIZE, DNODE_SIZE, MAX_SLOTS};
use crate::sa::{Layouts, Znode, pack_xattrs};
use crate::zap::{Entry, ZapValue};

pub(super) const S_IFDIR: u64 = 0o040000;
pub(super) const S_IFREG: u64 = 0o100000;

/// What tells the content of one ZAP from that of another.
pub(super) fn digest_of(entries: &[Entry<'_>]) -> Digest {
    let mut hasher = tree::Hasher::default();
    for entry in entries {
        hasher.update(&(entry.name.len() as u64).to_le_bytes());
        hasher.update(entry.name);
        match &entry.value {
            ZapValue::U64(value) => hasher.update(&value.to_le_bytes()),
            ZapValue::Bytes(bytes) => hasher.update(bytes),
            ZapValue::U16s(words) => {
                words.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
            }
            ZapValue::U32s(words) => {
                words.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
            }
            ZapValue::U64s(words) => {
                words.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
            }
        }
    }
    hasher.finish()
}

/// How many slots an inode's dnode takes: as few as hold its attributes, or the least if not even
/// the most do.
pub(super) fn slots_for(inode: &Inode, outside: bool, least: u32, most: u32) -> u32 {
    if least >= most {
        return least;
    }
    let packed = pack_xattrs(&inode.metadata.xattrs);
    let mut znode = base_znode(inode, 0);
    znode.dxattr = packed.sa.as_deref();
    znode.xattr_dir = outside.then_some(0);
    match &inode.kind {
        Kind::Symlink(target) => znode.symlink = Some(target),
        Kind::CharDevice(_) | Kind::BlockDevice(_) => znode.rdev = Some(0),
        _ => {}
    }
    let fits = |slots: &u32| {
        let capacity = BONUS_SIZE + DNODE_SIZE * (*slots as usize - 1);
        let encoded = znode.encode(capacity, &mut Layouts::default());
        encoded.is_ok_and(|encoded| encoded.spill.is_none())
    };
    (least..=most.min(MAX_SLOTS)).find(fits).unwrap_or(least)
}

/// The attributes of an inode that was made in transaction group `birth`, as far as they do not
/// depend on its kind.
pub(super) fn base_znode(inode: &Inode, birth: u64) -> Znode<'static> {
    let metadata = &inode.metadata;
    let mode = file_type(&inode.kind) | u64::from(metadata.mode);
    let time = metadata.mtime;
    Znode {
        mode,
        size: 0,
        generation: birth,
        uid: u64::from(metadata.uid),
        gid: u64::from(metadata.gid),
        parent: 0,
        is_xattr: false,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        links: 1,
        projid: Some(0),
        rdev: None,
        symlink: None,
        dxattr: None,
        xattr_dir: None,
    }
}

fn file_type(kind: &Kind) -> u64 {
    match kind {
        Kind::Directory(_) => S_IFDIR,
        Kind::File(_) => S_IFREG,
        Kind::Symlink(_) => 0o120000,
        Kind::CharDevice(_) => 0o020000,
        Kind::BlockDevice(_) => 0o060000,
        Kind::Fifo => 0o010000,
        Kind::Socket => 0o140000,
    }
}

/// The `DT_*` code of directory entries: the type bits of the mode.
pub(super) fn dirent_type(kind: &Kind) -> u64 {
    file_type(kind) >> 12
}

/// Linux's internal device number.
pub(super) fn device_number(device: Device) -> u64 {
    u64::from(device.major) << 20 | u64::from(device.minor)
}
