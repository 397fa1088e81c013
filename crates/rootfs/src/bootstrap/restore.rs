//! A saved tree becomes a directory again, for what has to run in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};
use tree::scan::Known;
use tree::store::DirStore;
use tree::{Device, Inode, InodeId, Kind, Metadata, Tree};

use super::Fault;
use super::parallel::each;

/// Longer than between two ticks of any kernel's clock.
const TICK: Duration = Duration::from_millis(20);

/// Writes `tree` to the directory `to`, which must not exist. Contents are copied: what runs there may change
/// them. What nobody changes can be told from the rest by what is returned.
pub(super) fn restore(tree: &Tree, blobs: &DirStore, to: &Path) -> Result<Known, Fault> {
    let mut firsts: HashMap<InodeId, PathBuf> = HashMap::new();
    let (mut first, mut further) = (Vec::new(), Vec::new());
    for entry in tree.walk() {
        let path = to.join(OsStr::from_bytes(&entry.path));
        if let Kind::Directory(_) = entry.inode.kind {
            make(entry.inode, blobs, &path).map_err(|error| fault(&path, &error))?;
        } else if let Some(first) = firsts.get(&entry.id) {
            further.push((first.clone(), path));
        } else {
            if tree.links(entry.id) > 1 {
                firsts.insert(entry.id, path.clone());
            }
            first.push((path, entry.inode));
        }
    }
    each(&first, |(path, inode)| make(inode, blobs, path).map_err(|error| fault(path, &error)))?;
    for (first, path) in &further {
        fs::hard_link(first, path).map_err(|error| fault(path, &error))?;
    }
    // Not before, as links change them.
    let mut known = Known::default();
    for (path, inode) in &first {
        if let Kind::File(file) = &inode.kind {
            known.add(path, file).map_err(|error| Fault::Told(error.to_string()))?;
        }
    }
    thread::sleep(TICK);
    Ok(known)
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    Fault::Told(format!("{}: {error}", path.display()))
}

/// Every directory on the way was made here, so that no link leads elsewhere.
fn make(inode: &Inode, blobs: &DirStore, path: &Path) -> io::Result<()> {
    let special = |kind, device| Ok(mknodat(CWD, path, kind, Mode::empty(), device)?);
    let number = |device: &Device| makedev(device.major, device.minor);
    match &inode.kind {
        Kind::Directory(_) => fs::create_dir(path),
        Kind::File(file) => content(file, blobs, path),
        Kind::Symlink(target) => symlink(OsStr::from_bytes(target), path),
        Kind::CharDevice(device) => special(FileType::CharacterDevice, number(device)),
        Kind::BlockDevice(device) => special(FileType::BlockDevice, number(device)),
        Kind::Fifo => special(FileType::Fifo, 0),
        Kind::Socket => special(FileType::Socket, 0),
    }?;
    let Metadata { mode, uid, gid, mtime, xattrs } = &inode.metadata;
    // A change of owner takes setuid bits and capabilities away.
    lchown(path, Some(*uid), Some(*gid))?;
    if !matches!(inode.kind, Kind::Symlink(_)) {
        fs::set_permissions(path, Permissions::from_mode((*mode).into()))?;
    }
    for (name, value) in xattrs {
        lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn content(file: &tree::File, blobs: &DirStore, path: &Path) -> io::Result<()> {
    let mut output = File::create_new(path)?;
    let mut input = File::open(blobs.path(&file.blob))?;
    let Some(extents) = &file.extents else {
        return io::copy(&mut input, &mut output).map(drop);
    };
    for extent in extents {
        output.seek(SeekFrom::Start(extent.offset))?;
        io::copy(&mut (&mut input).take(extent.length), &mut output)?;
    }
    output.set_len(file.size)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tree::{scan, store};

    use super::*;

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("root/d/e")).unwrap();
        fs::write(at("root/d/one"), "pears").unwrap();
        fs::hard_link(at("root/d/one"), at("root/two")).unwrap();
        symlink("d/one", at("root/link")).unwrap();
        let sparse = File::create(at("root/sparse")).unwrap();
        sparse.set_len(5 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 3 << 20).unwrap();
        mknodat(CWD, at("root/pipe"), FileType::Fifo, Mode::empty(), 0).unwrap();
        lsetxattr(at("root/two"), "user.pear", b"sweet", XattrFlags::empty()).unwrap();
        for (name, mode) in [("d/e", 0o1777), ("two", 0o6711), ("pipe", 0o600), ("sparse", 0o640)] {
            fs::set_permissions(at("root").join(name), Permissions::from_mode(mode)).unwrap();
        }
        let (tree, blobs) = scan::scan(&at("root"), &|_| ()).unwrap();
        store::save(&at("saved"), &tree, &blobs).unwrap();
        let (saved, blobs) = store::load(&at("saved")).unwrap();
        let known = restore(&saved, &blobs, &at("again")).unwrap();
        let read = std::cell::Cell::new(0);
        let rescan = || scan::scan_changed(&at("again"), &known, &|bytes| read.set(bytes)).unwrap();
        let (mut again, _) = rescan();
        assert_eq!(read.get(), 0, "nothing has changed");
        // Those of directories are of the last name made in them.
        let directories = |tree: &mut Tree| {
            let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
            for id in ids {
                if tree.directory(id).is_some() {
                    tree.metadata_mut(id).mtime = tree::Timestamp::default();
                }
            }
            tree::manifest::digest(tree)
        };
        assert_eq!(directories(&mut again), directories(&mut saved.clone()));
        // What is done to it is not done to what was saved.
        assert_eq!(fs::metadata(at("again/two")).unwrap().nlink(), 2);
        fs::write(at("again/two"), "plums").unwrap();
        // Not even a time that is put back hides a change.
        let mtime = fs::metadata(at("root/two")).unwrap().modified().unwrap();
        File::open(at("again/two")).unwrap().set_modified(mtime).unwrap();
        let (changed, _) = rescan();
        assert_eq!(read.get(), 5, "only that is read");
        assert_ne!(directories(&mut changed.clone()), directories(&mut saved.clone()));
        let file = |path| match &changed.inode(changed.get(path).unwrap()).kind {
            Kind::File(file) => file.blob,
            _ => panic!("no file"),
        };
        assert_eq!((file("two"), file("d/one")), (tree::Digest::of(b"plums"), file("two")));
        for entry in saved.walk() {
            if let Kind::File(file) = &entry.inode.kind {
                blobs.verify(&file.blob).unwrap();
            }
        }
    }
}
