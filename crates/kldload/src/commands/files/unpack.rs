//! A tree becomes a directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use blk::WriteAt;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat,
    fchmod, fchown, fsetxattr, futimens, lsetxattr, makedev, mknodat, utimensat,
};
use rustix::io::Errno;
use tree::{Blobs, Extent, Inode, InodeId, Kind, Metadata, Tree};

use super::PIECE;

/// Files that one thread writes before it takes others: two that make files in one directory would wait
/// for each other.
const TOGETHER: usize = 64;

/// What a caller without privileges cannot do; told once each.
#[derive(Debug, Default)]
struct Notes {
    owners: AtomicBool,
    devices: AtomicUsize,
    xattrs: AtomicUsize,
}

impl Notes {
    fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.owners.load(Ordering::Relaxed) {
            texts.push("owners were not set, which needs root".to_owned());
        }
        for (count, what) in [(&self.devices, "devices"), (&self.xattrs, "extended attributes")] {
            match count.load(Ordering::Relaxed) {
                0 => {}
                count => texts.push(format!("{count} {what} were left out, as they need root")),
            }
        }
        texts
    }
}

fn times(metadata: &Metadata) -> Timestamps {
    let mtime =
        Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: metadata.mtime.nanoseconds.into() };
    Timestamps { last_access: mtime, last_modification: mtime }
}

fn mode(metadata: &Metadata) -> Mode {
    Mode::from_raw_mode(metadata.mode.into())
}

fn ids(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
}

/// Gives one file the permissions and the time it had; its owner stays the caller.
pub fn file_attributes(file: &File, metadata: &Metadata) -> anyhow::Result<()> {
    fchmod(file, Mode::from_raw_mode(u32::from(metadata.mode) & 0o777))?;
    futimens(file, &times(metadata))?;
    Ok(())
}

/// Writes everything in `tree` below `directory`, which exists and is empty; tells what could not be
/// done without privileges.
pub fn tree(tree: &Tree, blobs: &dyn Blobs, directory: &Path) -> anyhow::Result<Vec<String>> {
    let notes = Notes::default();
    let mut first: HashMap<InodeId, PathBuf> = HashMap::new();
    let (mut directories, mut files, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for entry in tree.walk() {
        let path = directory.join(OsStr::from_bytes(&entry.path));
        if let Kind::Directory(_) = entry.inode.kind {
            if !entry.path.is_empty() {
                let made = fs::DirBuilder::new().create(&path);
                made.with_context(|| format!("cannot make {}", path.display()))?;
            }
            directories.push((path, entry.inode));
            continue;
        }
        if let Some(known) = first.get(&entry.id) {
            links.push((known.clone(), path));
            continue;
        }
        if tree.links(entry.id) > 1 {
            first.insert(entry.id, path.clone());
        }
        files.push((path, entry.inode));
    }
    write_all(&files, blobs, &notes)?;
    for (known, path) in &links {
        // What was left out for lack of privileges has no second name either.
        if known.symlink_metadata().is_ok() {
            let linked = fs::hard_link(known, path);
            linked.with_context(|| format!("cannot link {}", path.display()))?;
        }
    }
    // Last, and from below: each change in a directory changes its time.
    for (path, inode) in directories.iter().rev() {
        attributes(path, inode, &notes)
            .with_context(|| format!("cannot set attributes of {}", path.display()))?;
    }
    Ok(notes.texts())
}

/// Writes everything but directories, on all processors.
fn write_all(files: &[(PathBuf, &Inode)], blobs: &dyn Blobs, notes: &Notes) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let groups: Vec<_> = files.chunks(TOGETHER).collect();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; PIECE];
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (path, inode) in *group {
                let written = write_one(path, inode, blobs, &mut buffer, notes)
                    .with_context(|| format!("cannot write {}", path.display()));
                if let Err(error) = written {
                    // The others stop at their next group.
                    next.store(groups.len(), Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(|lock| lock.into_inner());
                    failure.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(|lock| lock.into_inner()).map_or(Ok(()), Err)
}

fn write_one(
    path: &Path,
    inode: &Inode,
    blobs: &dyn Blobs,
    buffer: &mut [u8],
    notes: &Notes,
) -> anyhow::Result<()> {
    let node = |kind, device| match mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device) {
        Err(Errno::PERM) => {
            notes.devices.fetch_add(1, Ordering::Relaxed);
            Ok(false)
        }
        result => result.map(|()| true),
    };
    match &inode.kind {
        Kind::File(file) => {
            let out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let whole = [Extent { offset: 0, length: file.size }];
            let extents = file.extents.as_deref().unwrap_or(&whole);
            let mut content = blobs.open(&file.blob)?;
            for extent in extents {
                let mut at = extent.offset;
                let end = extent.offset + extent.length;
                while at < end {
                    let length = (end - at).min(buffer.len() as u64) as usize;
                    let piece = &mut buffer[..length];
                    content.read_exact(piece)?;
                    WriteAt::write_all_at(&out, piece, at)?;
                    at += length as u64;
                }
            }
            if file.extents.is_some() {
                out.set_len(file.size)?;
            }
            return open_file_attributes(&out, &inode.metadata, notes);
        }
        Kind::Symlink(target) => symlink(OsStr::from_bytes(target), path)?,
        Kind::CharDevice(device) => {
            if !node(FileType::CharacterDevice, makedev(device.major, device.minor))? {
                return Ok(());
            }
        }
        Kind::BlockDevice(device) => {
            if !node(FileType::BlockDevice, makedev(device.major, device.minor))? {
                return Ok(());
            }
        }
        Kind::Fifo => {
            node(FileType::Fifo, 0)?;
        }
        Kind::Socket => {
            node(FileType::Socket, 0)?;
        }
        Kind::Directory(_) => {}
    }
    attributes(path, inode, notes)
}

/// Whether an extended attribute may be left out: the caller may not set it, or the file system
/// does not have it.
fn may_lack(result: rustix::io::Result<()>, notes: &Notes) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
            notes.xattrs.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        result => result,
    }
}

fn owner(result: rustix::io::Result<()>, notes: &Notes) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM) => {
            notes.owners.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result,
    }
}

fn open_file_attributes(file: &File, metadata: &Metadata, notes: &Notes) -> anyhow::Result<()> {
    let (uid, gid) = ids(metadata);
    owner(fchown(file, uid, gid), notes)?;
    // A change of owner clears setuid and capabilities, so these come after it.
    fchmod(file, mode(metadata))?;
    for (name, value) in &metadata.xattrs {
        let set = fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
        may_lack(set, notes)?;
    }
    futimens(file, &times(metadata))?;
    Ok(())
}

fn attributes(path: &Path, inode: &Inode, notes: &Notes) -> anyhow::Result<()> {
    let metadata = &inode.metadata;
    let (uid, gid) = ids(metadata);
    owner(chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW), notes)?;
    for (name, value) in &metadata.xattrs {
        let set = lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty());
        may_lack(set, notes)?;
    }
    if !matches!(inode.kind, Kind::Symlink(_)) {
        chmod(path, mode(metadata))?;
    }
    utimensat(CWD, path, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
