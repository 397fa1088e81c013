//! Writing into a directory that is to become a root, as dpkg writes into one.
//!
//! Every path is looked up inside the directory, whatever symbolic links are on the way (openat2(2) with
//! `RESOLVE_IN_ROOT`); nothing is written through a link at the end of a path.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// Linux's PATH_MAX without the closing NUL.
const PATH_LIMIT: usize = 4095;

/// A path of an archive, or the root itself, as parts without `.`; `None` for what no package may have.
pub(super) fn parts(path: &[u8]) -> Option<Vec<&[u8]>> {
    if path.is_empty() || path.len() > PATH_LIMIT || path.first() == Some(&b'/') {
        return None;
    }
    let parts: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    // dpkg's lists have a path on each line.
    let bad = |part: &&[u8]| {
        *part == b".." || part.len() > 255 || part.contains(&0) || part.contains(&b'\n')
    };
    if parts.iter().any(bad) { None } else { Some(parts) }
}

/// Owner, permissions and time of something that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timespec,
}

/// The root under construction.
#[derive(Debug)]
pub(super) struct Root {
    root: OwnedFd,
}

/// A directory in it, with its number on the file system.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    pub inode: u64,
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self { root: fs::open(path, flags, Mode::empty())? })
    }

    /// The directory at `path`, links followed.
    pub fn place(&self, path: &[&[u8]]) -> io::Result<Place> {
        let joined = if path.is_empty() { b".".to_vec() } else { path.join(&b'/') };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let directory = fs::openat2(&self.root, joined, flags, Mode::empty(), resolve)?;
        let inode = fs::fstat(&directory)?.st_ino;
        Ok(Place { directory, inode })
    }

    /// The directory at `path`; what is missing of it is made, mode 0755.
    pub fn make_place(&self, path: &[&[u8]]) -> io::Result<Place> {
        match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let (name, parents) = path.split_last().ok_or(io::ErrorKind::NotFound)?;
        let parent = self.make_place(parents)?;
        match fs::mkdirat(&parent.directory, *name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => self.place(path),
            Err(error) => Err(error.into()),
        }
    }
}

impl Place {
    /// What `name` is, links not followed.
    pub fn kind(&self, name: &[u8]) -> io::Result<Option<FileType>> {
        match fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `name` is a directory, or leads to one inside `root`.
    pub fn is_directory(&self, root: &Root, path: &[&[u8]], name: &[u8]) -> io::Result<bool> {
        match self.kind(name)? {
            Some(FileType::Directory) => Ok(true),
            Some(FileType::Symlink) => Ok(root.place(path).is_ok()),
            _ => Ok(false),
        }
    }

    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    /// Makes a directory, or gives the one that is there other attributes.
    pub fn directory(&self, name: &[u8], attributes: &Attributes) -> io::Result<()> {
        match fs::mkdirat(&self.directory, name, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = fs::openat(&self.directory, name, flags, Mode::empty())?;
        dress(&directory, attributes)
    }

    /// A new, empty file that nobody may read yet.
    pub fn create(&self, name: &[u8]) -> io::Result<NewFile> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.directory, name, flags, Mode::from(0o600))?;
        Ok(NewFile(File::from(file)))
    }

    pub fn symlink(&self, name: &[u8], target: &[u8], attributes: &Attributes) -> io::Result<()> {
        fs::symlinkat(target, &self.directory, name)?;
        self.dress_name(name, attributes)
    }

    pub fn hard_link(&self, name: &[u8], to: &Place, target: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&to.directory, target, &self.directory, name, AtFlags::empty())?)
    }

    pub fn special(
        &self,
        name: &[u8],
        kind: FileType,
        device: u64,
        attributes: &Attributes,
    ) -> io::Result<()> {
        fs::mknodat(&self.directory, name, kind, Mode::from(0o600), device)?;
        let (uid, gid) = owner(attributes);
        fs::chownat(&self.directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        fs::chmodat(&self.directory, name, Mode::from(attributes.mode), AtFlags::empty())?;
        self.time(name, attributes)
    }

    fn dress_name(&self, name: &[u8], attributes: &Attributes) -> io::Result<()> {
        let (uid, gid) = owner(attributes);
        fs::chownat(&self.directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        self.time(name, attributes)
    }

    fn time(&self, name: &[u8], attributes: &Attributes) -> io::Result<()> {
        let times = times(attributes);
        Ok(fs::utimensat(&self.directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A file being written.
#[derive(Debug)]
pub(super) struct NewFile(File);

impl NewFile {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub fn finish(self, attributes: &Attributes) -> io::Result<()> {
        dress(&self.0, attributes)
    }
}

fn owner(attributes: &Attributes) -> (Option<fs::Uid>, Option<fs::Gid>) {
    (Some(fs::Uid::from_raw(attributes.uid)), Some(fs::Gid::from_raw(attributes.gid)))
}

fn times(attributes: &Attributes) -> Timestamps {
    Timestamps { last_access: attributes.mtime, last_modification: attributes.mtime }
}

/// The mode comes after the owner: a change of owner takes the setuid bit away.
fn dress(file: impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let (uid, gid) = owner(attributes);
    fs::fchown(&file, uid, gid)?;
    fs::fchmod(&file, Mode::from(attributes.mode))?;
    Ok(fs::futimens(&file, &times(attributes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below() {
        assert_eq!(parts(b"./usr/bin/"), Some(vec![&b"usr"[..], b"bin"]));
        assert_eq!(parts(b"./"), Some(vec![]));
        for bad in [&b""[..], b"/etc/passwd", b"./../x", b"a/../../b", b"a\nb", b"a\0"] {
            assert_eq!(parts(bad), None);
        }
        assert_eq!(parts(&[b'a'; 256]), None);
    }

    #[test]
    fn links_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("root");
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.join("out")).unwrap();
        std::os::unix::fs::symlink("../..", inside.join("up")).unwrap();
        let root = Root::open(&inside).unwrap();
        let error = root.place(&[b"out"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let place = root.place(&[b"up"]).unwrap();
        assert_eq!(place.inode, root.place(&[]).unwrap().inode);
        root.make_place(&[b"a", b"b"]).unwrap();
        assert!(inside.join("a/b").is_dir());
    }
}
