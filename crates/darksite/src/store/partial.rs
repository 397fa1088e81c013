//! A blob on its way into the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tree::{Digest, Hasher};

use super::writer::Writer;
use super::{CHUNK, PARTIAL, Store, StoreError, at, read_only};

/// What there is of a blob. Dropping it keeps what was written, for a later run to go on with.
#[derive(Debug)]
pub struct Partial<'a> {
    store: &'a Store,
    blob: Digest,
    path: PathBuf,
    /// Another process writes the same blob: this file has a random name, and goes when it is dropped.
    temporary: Option<tempfile::TempPath>,
    writer: Writer,
    hasher: Hasher,
}

impl<'a> Partial<'a> {
    pub(super) fn open(store: &'a Store, blob: Digest, limit: u64) -> Result<Self, StoreError> {
        let directory = store.root.join(PARTIAL);
        let path = directory.join(blob.to_string());
        let (file, path, temporary) = match open_locked(&path).map_err(at(&path))? {
            Some(file) => (file, path, None),
            None => {
                let temporary =
                    tempfile::NamedTempFile::new_in(&directory).map_err(at(&directory))?;
                let (file, temporary) = temporary.into_parts();
                (file, temporary.to_path_buf(), Some(temporary))
            }
        };
        let (hasher, length) = take_up(&file, limit).map_err(at(&path))?;
        let writer = store.writers.writer(file, length);
        let mut partial = Self { store, blob, path, temporary, writer, hasher };
        if length > limit {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.writer.offset()
    }

    /// Where the next bytes go, to be [added](Self::filled); some room there always is.
    pub fn room(&mut self) -> &mut [u8] {
        self.writer.room()
    }

    /// Adds the first `length` bytes of the [room](Self::room).
    pub fn filled(&mut self, length: usize) -> Result<(), StoreError> {
        let bytes = self.writer.room().get(..length).unwrap_or_default();
        self.hasher.update(bytes);
        let length = bytes.len();
        self.writer.filled(length).map_err(at(&self.path))
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
            self.filled(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Forgets everything written.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.writer.restart().map_err(at(&self.path))?;
        self.hasher = Hasher::default();
        Ok(())
    }

    /// The digest of what there is.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Says that this is all: the blob gets its name when the store is [settled](Store::settle). If the
    /// content is not what the name says, everything written is forgotten, and the error tells its digest.
    pub fn publish(mut self) -> Result<(), StoreError> {
        let found = self.digest();
        if found != self.blob {
            let length = self.length();
            self.restart()?;
            return Err(StoreError::Damaged { path: self.path.clone(), found, length });
        }
        self.writer.hand_on().map_err(at(&self.path))?;
        let Self { store, blob, path, temporary, writer, .. } = self;
        store.wait(Complete { blob, path, temporary, writer })
    }
}

/// A blob whose content is right, but may not be on disk yet.
#[derive(Debug)]
pub(super) struct Complete {
    blob: Digest,
    path: PathBuf,
    temporary: Option<tempfile::TempPath>,
    /// Its file is open, which keeps other processes away.
    writer: Writer,
}

impl Complete {
    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.writer.offset()
    }

    /// Waits until all of it was given to the file system.
    pub(super) fn written(&mut self) -> Result<(), StoreError> {
        self.writer.wait().map_err(at(&self.path))
    }

    /// Gives the blob its name in the store in `root`.
    pub(super) fn name(self, root: &Path) -> Result<(), StoreError> {
        let target = super::path(root, &self.blob);
        let directory = target.parent().unwrap_or(root);
        fs::create_dir_all(directory).map_err(at(directory))?;
        // Another process may have been first: what has links must stay the file that it is.
        if super::is_here(&target, self.length()) {
            return match self.temporary {
                Some(temporary) => temporary.close(),
                None => fs::remove_file(&self.path),
            }
            .map_err(at(&self.path));
        }
        // Not before: what a crash leaves behind must be writable for the run that goes on with it.
        read_only(self.writer.file()).map_err(at(&self.path))?;
        match self.temporary {
            Some(temporary) => temporary.persist(&target).map_err(|error| at(&target)(error.error)),
            None => fs::rename(&self.path, &target).map_err(at(&target)),
        }
    }
}

/// Hashes what an earlier run left, up to the first bytes beyond `limit`, which cannot be right.
fn take_up(mut file: &File, limit: u64) -> io::Result<(Hasher, u64)> {
    let (mut hasher, mut length) = (Hasher::default(), 0);
    let mut buffer = vec![0; CHUNK];
    while length <= limit {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher, length))
}

/// Opens the file for this process alone; `None` if another one has it.
fn open_locked(path: &PathBuf) -> io::Result<Option<File>> {
    let open = || OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let file = match open() {
        // It was about to get its name when its process was stopped, or that is happening now.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let read_only = File::open(path)?;
            match flock(&read_only, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => read_only.set_permissions(fs::Permissions::from_mode(0o644))?,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            drop(read_only);
            open()?
        }
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // The one who had the lock before may have given this very file its name as a blob.
    let (ours, named) = (file.metadata()?, fs::metadata(path));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
    Ok(same.then_some(file))
}
