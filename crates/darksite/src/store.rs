//! Content-addressed blobs: `blobs/ab/cdef…`, named by their SHA-256.
//!
//! A blob gets its name when its content is complete, checked and on disk, and never changes after
//! that: a crash leaves at most partial files, which a later run goes on with. Many blobs wait for the
//! disk together ([`Store::settle`]): waiting for each takes longer than writing it. Blobs are
//! read-only, as published repositories are hard links to them.

mod partial;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem::take;
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tree::{Digest, Hasher};

use partial::Complete;
pub use partial::Partial;
use writer::{Writers, lock};

/// Directory of the blobs.
const BLOBS: &str = "blobs";
/// Directory of what is not complete yet.
const PARTIAL: &str = "partial";
/// Bytes read at once.
const CHUNK: usize = 1 << 17;
/// Most blobs that wait for the disk together: each is an open file.
const WAITING: usize = 128;
/// Most bytes that do.
const WAITING_BYTES: u64 = 256 << 20;

/// Why the store could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A blob has another content than its name says.
    #[error("{}: damaged: its content has SHA-256 {found}, {length} bytes; delete it and sync again", path.display())]
    Damaged {
        /// The blob's file.
        path: PathBuf,
        /// The digest of its content.
        found: Digest,
        /// Its length in bytes.
        length: u64,
    },
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// A store in a directory; several processes may use it at the same time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Blobs whose content may not be on disk yet.
    complete: Mutex<Vec<Complete>>,
    /// Gives earlier ones their names, while others arrive.
    settling: Mutex<Option<Settling>>,
    writers: Writers,
}

/// A thread of its own.
type Settling = JoinHandle<Result<(), StoreError>>;

impl Store {
    /// The store in `root`, which is made if it does not exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        for directory in [root.join(BLOBS), root.join(PARTIAL)] {
            fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        let (complete, settling, writers) = Default::default();
        Ok(Self { root, complete, settling, writers })
    }

    /// Where the blob is, or would be.
    pub fn path(&self, blob: &Digest) -> PathBuf {
        path(&self.root, blob)
    }

    /// Whether the blob is here with this length in bytes. Its content is not read: see
    /// [`verify`](Self::verify).
    pub fn contains(&self, blob: &Digest, length: u64) -> bool {
        is_here(&self.path(blob), length)
    }

    /// Begins, or goes on with, the blob called `blob`, of which at most `limit` bytes are kept.
    pub fn partial(&self, blob: &Digest, limit: u64) -> Result<Partial<'_>, StoreError> {
        Partial::open(self, *blob, limit)
    }

    /// Adds `bytes` and tells their name, which they have once this is [settled](Self::settle).
    pub fn insert(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let blob = Digest::of(bytes);
        let length = bytes.len() as u64;
        if !self.contains(&blob, length) {
            let mut partial = self.partial(&blob, length)?;
            partial.restart()?;
            partial.write(bytes)?;
            partial.publish()?;
        }
        Ok(blob)
    }

    /// Reads a whole blob of at most `limit` bytes and checks it.
    pub fn read(&self, blob: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.path(blob);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(at(&path))?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(at(&path))?;
        let found = Digest::of(&bytes);
        if found != *blob {
            return Err(StoreError::Damaged { path, found, length: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    /// Reads a blob to its end, checks that it is what its name says, and tells its length in bytes.
    pub fn verify(&self, blob: &Digest) -> Result<u64, StoreError> {
        let path = self.path(blob);
        let (found, length) = digest_of(&path).map_err(at(&path))?;
        if found != *blob {
            return Err(StoreError::Damaged { path, found, length });
        }
        Ok(length)
    }

    /// Gives all blobs that are complete their names, once their contents are on disk, and makes the names
    /// survive a crash.
    pub fn settle(&self) -> Result<(), StoreError> {
        let before = end(lock(&self.settling).take());
        before.and(settle(&self.root, take(&mut lock(&self.complete))))
    }

    /// Lets a blob wait for the disk.
    fn wait(&self, blob: Complete) -> Result<(), StoreError> {
        let mut complete = lock(&self.complete);
        complete.push(blob);
        let bytes: u64 = complete.iter().map(Complete::length).sum();
        if complete.len() < WAITING && bytes < WAITING_BYTES {
            return Ok(());
        }
        let complete = take(&mut *complete);
        let mut settling = lock(&self.settling);
        end(settling.take())?;
        let root = self.root.clone();
        let begun = thread::Builder::new().name("settling".to_owned());
        let begun = begun.spawn(move || settle(&root, complete)).map_err(at(&self.root))?;
        *settling = Some(begun);
        Ok(())
    }

    /// All blobs with their lengths in bytes, in the order of their names. Other files are left out.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let blobs = self.root.join(BLOBS);
        let mut found = Vec::new();
        for directory in entries(&blobs)? {
            let Some(start) = directory.file_name().to_str().map(str::to_owned) else { continue };
            if !directory.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in entries(&directory.path())? {
                let name = entry.file_name();
                let digest = name.to_str().and_then(|rest| format!("{start}{rest}").parse().ok());
                let Some(digest) = digest else { continue };
                let length = entry.metadata().map_err(at(&entry.path()))?.len();
                found.push((digest, length));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Forgets a blob. Hard links to it keep its content.
    pub fn remove(&self, blob: &Digest) -> Result<(), StoreError> {
        let path = self.path(blob);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// Removes what downloads left unfinished and no process is writing; tells how many there were and their
    /// bytes. With `dry_run` it only tells.
    pub fn remove_partials(&self, dry_run: bool) -> Result<(usize, u64), StoreError> {
        let mut removed = (0, 0);
        for entry in entries(&self.root.join(PARTIAL))? {
            let path = entry.path();
            let Ok(file) = File::open(&path) else { continue };
            let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            if rustix::fs::flock(&file, operation).is_err() {
                continue;
            }
            removed.0 += 1;
            removed.1 += file.metadata().map_err(at(&path))?.len();
            if !dry_run {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(removed)
    }
}

/// Where a blob is, or would be, in the store in `root`.
fn path(root: &Path, blob: &Digest) -> PathBuf {
    let name = blob.to_string();
    let (directory, file) = name.split_at(2);
    root.join(BLOBS).join(directory).join(file)
}

/// Whether a blob is at `path` with this length in bytes.
fn is_here(path: &Path, length: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == length)
}

/// Gives blobs their names in the store in `root`, once their contents are on disk.
fn settle(root: &Path, mut complete: Vec<Complete>) -> Result<(), StoreError> {
    if complete.is_empty() {
        return Ok(());
    }
    let mut failed = None;
    complete.retain_mut(|blob| blob.written().map_err(|error| failed = Some(error)).is_ok());
    sync_file_system(root)?;
    for blob in complete {
        blob.name(root)?;
    }
    sync_file_system(root)?;
    failed.map_or(Ok(()), Err)
}

/// Waits until what was begun has ended.
fn end(begun: Option<Settling>) -> Result<(), StoreError> {
    let ended = begun.map(JoinHandle::join).transpose();
    ended.unwrap_or_else(|panic| resume_unwind(panic)).unwrap_or(Ok(()))
}

/// SHA-256 and length of a file.
pub(crate) fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut length = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), length)),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    fs::read_dir(directory).and_then(Iterator::collect).map_err(at(directory))
}

/// Waits until everything written to the file system of `directory` is on disk.
pub(crate) fn sync_file_system(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|file| Ok(rustix::fs::syncfs(&file)?)).map_err(at(directory))
}

/// Writes a file that appears whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        // The mask of the process has no say.
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(at(path))
}

/// Everybody may read a blob, nobody may change it.
fn read_only(file: &File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o444))
}

#[cfg(test)]
mod tests;
