//! A blob on its way into the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{Advice, FlockOperation, flock};
use tree::{Digest, Hasher};

use super::{CHUNK, PARTIAL, Store, StoreError, at, read_only};

/// What there is of a blob. Dropping it keeps what was written, for a later run to go on with.
#[derive(Debug)]
pub struct Partial<'a> {
    store: &'a Store,
    blob: Digest,
    file: File,
    path: PathBuf,
    /// Another process writes the same blob: this file has a random name, and goes when it is dropped.
    temporary: Option<tempfile::TempPath>,
    hasher: Hasher,
    length: u64,
}

impl<'a> Partial<'a> {
    pub(super) fn open(store: &'a Store, blob: Digest, limit: u64) -> Result<Self, StoreError> {
        let directory = store.root.join(PARTIAL);
        let path = directory.join(blob.to_string());
        if let Some(file) = open_locked(&path).map_err(at(&path))? {
            let mut partial = Self {
                store,
                blob,
                file,
                path,
                temporary: None,
                hasher: Hasher::default(),
                length: 0,
            };
            partial.take_up(limit)?;
            return Ok(partial);
        }
        let temporary = tempfile::NamedTempFile::new_in(&directory).map_err(at(&directory))?;
        let (file, temporary) = temporary.into_parts();
        let path = temporary.to_path_buf();
        let (hasher, length) = (Hasher::default(), 0);
        Ok(Self { store, blob, file, path, temporary: Some(temporary), hasher, length })
    }

    /// Hashes what an earlier run left; more than `limit` bytes cannot be right.
    fn take_up(&mut self, limit: u64) -> Result<(), StoreError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    self.hasher.update(buffer.get(..read).unwrap_or_default());
                    self.length += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(at(&self.path)(error)),
            }
            if self.length > limit {
                return self.restart();
            }
        }
        Ok(())
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(at(&self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets everything written.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(at(&self.path))?;
        (self.hasher, self.length) = (Hasher::default(), 0);
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
            let length = self.length;
            self.restart()?;
            return Err(StoreError::Damaged { path: self.path.clone(), found, length });
        }
        // The disk may begin; this is advice, and no harm is done where it is not taken.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        let Self { store, blob, file, path, temporary, length, .. } = self;
        store.wait(Complete { blob, path, temporary, length, file })
    }
}

/// A blob whose content is right, but may not be on disk yet.
#[derive(Debug)]
pub(super) struct Complete {
    blob: Digest,
    path: PathBuf,
    temporary: Option<tempfile::TempPath>,
    /// In bytes.
    pub length: u64,
    /// Open, it keeps other processes away.
    file: File,
}

impl Complete {
    /// Gives the blob its name.
    pub(super) fn name(self, store: &Store) -> Result<(), StoreError> {
        let target = store.path(&self.blob);
        let directory = target.parent().unwrap_or(&store.root);
        fs::create_dir_all(directory).map_err(at(directory))?;
        // Not before: what a crash leaves behind must be writable for the run that goes on with it.
        read_only(&self.file).map_err(at(&self.path))?;
        match self.temporary {
            Some(temporary) => temporary.persist(&target).map_err(|error| at(&target)(error.error)),
            None => fs::rename(&self.path, &target).map_err(at(&target)),
        }
    }
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
