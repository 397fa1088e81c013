//! A tree from a directory of the running system.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

use crate::{
    Blobs, Device, Digest, Directory, Extent, File as TreeFile, Hasher, Inode, InodeId, Kind,
    Metadata, Timestamp, Tree, TreeError, Xattrs,
};

/// Why a directory could not be made a tree.
#[derive(Debug, Error)]
pub enum ScanError {
    /// Reading failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The tree cannot hold the name.
    #[error("{}: {source}", path.display())]
    Tree {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: TreeError,
    },
    /// Something changed while it was read.
    #[error("{}: the file changed while it was read; try again when nothing writes to it", _0.display())]
    Changed(PathBuf),
    /// What was to be scanned is not a directory.
    #[error("{}: not a directory", _0.display())]
    NotADirectory(PathBuf),
    /// Another file system is mounted on something that is not a directory.
    #[error("{}: another file system is mounted here, so that what is below cannot be read; unmount it", _0.display())]
    MountedFile(PathBuf),
}

/// Scans `directory`, whose own attributes become those of the root.
///
/// Symbolic links are not followed. A directory on which another file system is mounted is kept, with
/// the attributes it shows, but nothing in it. Names of one inode outside `directory` are not known.
/// The files are read in place whenever their blobs are: they must not change meanwhile, and a file
/// that did change is an error then. `progress` hears how many bytes have been read so far.
pub fn scan(directory: &Path, progress: &dyn Fn(u64)) -> Result<(Tree, ScannedBlobs), ScanError> {
    scan_changed(directory, &Known::default(), progress)
}

/// As [`scan`], but of what is known only that is read which was written to since.
pub fn scan_changed(
    directory: &Path,
    known: &Known,
    progress: &dyn Fn(u64),
) -> Result<(Tree, ScannedBlobs), ScanError> {
    let root = lstat(directory)?;
    if !root.is_dir() {
        return Err(ScanError::NotADirectory(directory.to_owned()));
    }
    let mut scanner = Scanner {
        tree: Tree::new(metadata(directory, &root)?),
        files: Vec::new(),
        links: HashMap::new(),
        device: root.dev(),
        known,
    };
    let mut todo = vec![(directory.to_owned(), scanner.tree.root())];
    while let Some((path, id)) = todo.pop() {
        let mut below = scanner.directory(&path, id)?;
        below.reverse();
        todo.append(&mut below);
    }
    let Scanner { mut tree, files, .. } = scanner;
    let contents = read_all(&files, progress)?;
    let mut blobs = HashMap::new();
    for (Found { path, stamp, id, .. }, content) in files.into_iter().zip(contents) {
        let extents = content.extents.clone();
        let tree_error = |source| ScanError::Tree { path: path.clone(), source };
        let blob = content.blob;
        tree.set_kind(id, Kind::File(content)).map_err(tree_error)?;
        blobs.entry(blob).or_insert(Source { path, stamp, extents });
    }
    Ok((tree, ScannedBlobs { files: blobs }))
}

/// What files hold. It is still that, as long as they look as they did when they were added: in a directory where
/// nobody sets the clock, a file that was written to has another time of change. For this to be seen, writing
/// begins later than the clock of the file system ticks, which is a hundredth of a second at most.
#[derive(Debug, Default)]
pub struct Known(HashMap<Stamp, TreeFile>);

impl Known {
    /// The file at `path` holds this.
    pub fn add(&mut self, path: &Path, content: &TreeFile) -> Result<(), ScanError> {
        self.0.insert(Stamp::of(&lstat(path)?), content.clone());
        Ok(())
    }
}

fn lstat(path: &Path) -> Result<fs::Metadata, ScanError> {
    fs::symlink_metadata(path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ScanError + use<> {
    let path = path.to_owned();
    move |source| ScanError::Io { path, source }
}

struct Scanner<'a> {
    tree: Tree,
    /// Regular files, whose content comes last.
    files: Vec<Found>,
    /// Inodes with several names, by device and inode number.
    links: HashMap<(u64, u64), InodeId>,
    device: u64,
    known: &'a Known,
}

/// A regular file.
struct Found {
    path: PathBuf,
    stamp: Stamp,
    /// Whether blocks are missing: seeking for holes is only worth while then.
    sparse: bool,
    id: InodeId,
    known: Option<TreeFile>,
}

impl Scanner<'_> {
    /// Adds what is in a directory; returns the directories among it.
    fn directory(
        &mut self,
        path: &Path,
        id: InodeId,
    ) -> Result<Vec<(PathBuf, InodeId)>, ScanError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(at(path))? {
            names.push(entry.map_err(at(path))?.file_name().into_vec());
        }
        // The order of the numbers of inodes must not depend on the file system.
        names.sort_unstable();
        let mut below = Vec::new();
        for name in names {
            let child = path.join(OsStr::from_bytes(&name));
            if let Some(directory) = self.child(id, &name, &child)? {
                below.push((child, directory));
            }
        }
        Ok(below)
    }

    /// Adds one name; returns its number if it is a directory to go on with.
    fn child(
        &mut self,
        parent: InodeId,
        name: &[u8],
        path: &Path,
    ) -> Result<Option<InodeId>, ScanError> {
        let tree_error = |source| ScanError::Tree { path: path.to_owned(), source };
        let stat = lstat(path)?;
        let key = (stat.dev(), stat.ino());
        if !stat.is_dir()
            && let Some(&id) = self.links.get(&key)
        {
            self.tree.link(parent, name, id).map_err(tree_error)?;
            return Ok(None);
        }
        let mounted = stat.dev() != self.device;
        if mounted && !stat.is_dir() {
            return Err(ScanError::MountedFile(path.to_owned()));
        }
        let inode = Inode { metadata: metadata(path, &stat)?, kind: kind(path, &stat)? };
        let id = self.tree.insert(parent, name, inode).map_err(tree_error)?;
        if stat.is_file() {
            let stamp = Stamp::of(&stat);
            let sparse = stat.blocks().saturating_mul(512) < stat.len();
            let known = self.known.0.get(&stamp).cloned();
            self.files.push(Found { path: path.to_owned(), stamp, sparse, id, known });
        }
        if stat.is_dir() {
            return Ok((!mounted).then_some(id));
        }
        if stat.nlink() > 1 {
            self.links.insert(key, id);
        }
        Ok(None)
    }
}

fn kind(path: &Path, stat: &fs::Metadata) -> Result<Kind, ScanError> {
    let device =
        || Device { major: rustix::fs::major(stat.rdev()), minor: rustix::fs::minor(stat.rdev()) };
    let kind = stat.file_type();
    Ok(if kind.is_dir() {
        Kind::Directory(Directory::default())
    } else if kind.is_symlink() {
        let target = fs::read_link(path).map_err(at(path))?;
        Kind::Symlink(target.into_os_string().into_vec().into())
    } else if kind.is_char_device() {
        Kind::CharDevice(device())
    } else if kind.is_block_device() {
        Kind::BlockDevice(device())
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        // What is in it, the last step tells.
        Kind::File(TreeFile::dense(stat.len(), Digest::of(b"")))
    })
}

/// What the files hold, in their order; they are read on all processors.
fn read_all(files: &[Found], progress: &dyn Fn(u64)) -> Result<Vec<TreeFile>, ScanError> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let mut contents: Vec<_> = files.iter().map(|file| file.known.clone()).collect();
    let (send, results) = mpsc::channel();
    let work = |send: mpsc::Sender<_>| {
        let mut buffer = vec![0; BUFFER];
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { break };
            // Nobody listens any more after an error.
            if file.known.is_none() && send.send((at, file.read(&mut buffer, &done))).is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        // Goes when this returns, before the others are waited for.
        let results = results;
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let send = send.clone();
            scope.spawn(|| work(send));
        }
        drop(send);
        loop {
            match results.recv_timeout(Duration::from_millis(100)) {
                Ok((at, content)) => contents[at] = Some(content?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress(done.load(Ordering::Relaxed));
        }
        Ok::<_, ScanError>(())
    })?;
    Ok(contents.into_iter().flatten().collect())
}

impl Found {
    /// Reads it; `done` counts the bytes of all.
    fn read(&self, buffer: &mut [u8], done: &AtomicU64) -> Result<TreeFile, ScanError> {
        let path = &self.path;
        let file = open(path).map_err(at(path))?;
        let size = self.stamp.size;
        let extents = match self.sparse {
            true => data_runs(&file, size).map_err(at(path))?,
            false => None,
        };
        let whole = [Extent { offset: 0, length: size }];
        let mut hasher = Hasher::default();
        for extent in extents.as_deref().unwrap_or(&whole) {
            let mut section = Section { file: &file, extent: *extent };
            loop {
                match section.read(buffer).map_err(at(path))? {
                    0 => break,
                    read => {
                        hasher.update(&buffer[..read]);
                        done.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
            }
        }
        if Stamp::of(&file.metadata().map_err(at(path))?) != self.stamp {
            return Err(ScanError::Changed(path.to_owned()));
        }
        Ok(TreeFile { size, blob: hasher.finish(), extents })
    }
}

const BUFFER: usize = 1 << 20;

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(path)
}

fn metadata(path: &Path, stat: &fs::Metadata) -> Result<Metadata, ScanError> {
    Ok(Metadata {
        mode: (stat.mode() & 0o7777) as u16,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: Timestamp { seconds: stat.mtime(), nanoseconds: stat.mtime_nsec() as u32 },
        xattrs: xattrs(path).map_err(at(path))?,
    })
}

/// All attributes the caller may see: without privileges, those called `trusted.*` are invisible.
fn xattrs(path: &Path) -> io::Result<Xattrs> {
    let names = match grown(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Xattrs::new()),
        result => result?,
    };
    let mut xattrs = Xattrs::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let value = grown(|buffer| rustix::fs::lgetxattr(path, name, buffer))?;
        xattrs.insert(name.into(), value.into());
    }
    Ok(xattrs)
}

/// Calls `get` with larger and larger buffers until its result fits.
fn grown(
    mut get: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 10];
    loop {
        match get(&mut buffer) {
            // The kernel's limit is 64 KiB for values and for lists of names.
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            result => {
                buffer.truncate(result?);
                return Ok(buffer);
            }
        }
    }
}

/// Data runs by asking the file system; `None` if there is no hole.
fn data_runs(file: &File, size: u64) -> io::Result<Option<Box<[Extent]>>> {
    let mut runs: Vec<Extent> = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        match runs.last_mut() {
            Some(last) if last.offset + last.length == start => last.length += end - start,
            _ if end > start => runs.push(Extent { offset: start, length: end - start }),
            _ => break,
        }
        position = end;
    }
    let whole = runs.iter().map(|run| run.length).sum::<u64>() == size;
    Ok((!whole).then(|| runs.into()))
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(stat: &fs::Metadata) -> Self {
        Self {
            inode: (stat.dev(), stat.ino()),
            size: stat.len(),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            ctime: (stat.ctime(), stat.ctime_nsec()),
        }
    }
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    stamp: Stamp,
    extents: Option<Box<[Extent]>>,
}

impl Source {
    fn check(&self, file: &File) -> io::Result<()> {
        if Stamp::of(&file.metadata()?) == self.stamp {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{}: the file changed since it was scanned",
            self.path.display()
        )))
    }
}

/// The files of a scanned directory, read in place.
#[derive(Debug)]
pub struct ScannedBlobs {
    files: HashMap<Digest, Source>,
}

impl ScannedBlobs {
    /// A file that holds the blob and nothing else; `None` for unknown blobs, and for those of files with
    /// holes. It is not looked at whether the file has changed since.
    pub fn whole_file(&self, blob: &Digest) -> Option<&Path> {
        let source = self.files.get(blob).filter(|source| source.extents.is_none())?;
        Some(&source.path)
    }
}

impl Blobs for ScannedBlobs {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let source = self
            .files
            .get(blob)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no blob {blob}")))?;
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", source.path.display()))
        };
        let file = open(&source.path).map_err(named)?;
        source.check(&file)?;
        let mut runs: Vec<Extent> = match &source.extents {
            Some(extents) => extents.to_vec(),
            None => vec![Extent { offset: 0, length: source.stamp.size }],
        };
        runs.reverse();
        Ok(Box::new(SourceReader { source, file, runs }))
    }
}

/// Reads the data runs of a file one after the other and checks at the end that it did not change.
struct SourceReader<'a> {
    source: &'a Source,
    file: File,
    /// What is still to be read, the last one first.
    runs: Vec<Extent>,
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(run) = self.runs.last_mut() {
            let mut section = Section { file: &self.file, extent: *run };
            let read = section.read(buffer)?;
            *run = section.extent;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.runs.pop();
            if self.runs.is_empty() {
                self.source.check(&self.file)?;
            }
        }
        Ok(0)
    }
}

/// Reads one data run; an early end of the file is an error.
struct Section<'a> {
    file: &'a File,
    extent: Extent,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.extent.length).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..wanted], self.extent.offset)?;
        if read == 0 {
            let message = "the file became shorter while it was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.extent.offset += read as u64;
        self.extent.length -= read as u64;
        Ok(read)
    }
}
