//! A tree on disk: `DIR/manifest`, and beside it `DIR/blobs/` with each content once.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::manifest::{self, ManifestError};
use crate::{Blobs, Digest, Hasher, Kind, Tree};

/// Name of the manifest in the directory of a saved tree.
const MANIFEST: &str = "manifest";
/// Name of the directory of blobs beside it.
const BLOBS: &str = "blobs";

/// Why a tree was not saved or loaded.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The manifest cannot be used.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The content of a file in the tree could not be read from where it comes from.
    #[error("cannot read the content of {file:?}: {source}")]
    Content {
        /// Path in the tree.
        file: String,
        /// The error of its blobs.
        source: io::Error,
    },
    /// A blob is not what its name says.
    #[error("blob {expected} has other content, of digest {found}")]
    Digest {
        /// Its name.
        expected: Digest,
        /// The digest of its content.
        found: Digest,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// A directory of blobs, each in a file named by its digest: `ab/cdef…`.
///
/// A blob appears under its name complete or not at all; several processes may add at the same time.
#[derive(Debug, Clone)]
pub struct DirStore {
    directory: PathBuf,
}

impl DirStore {
    /// The store in `directory`, which need not exist before the first blob.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where the blob is, or would be.
    pub fn path(&self, blob: &Digest) -> PathBuf {
        let name = blob.to_string();
        self.directory.join(&name[..2]).join(&name[2..])
    }

    /// Whether the blob is here. Its content is not looked at.
    pub fn contains(&self, blob: &Digest) -> bool {
        self.path(blob).is_file()
    }

    /// Adds everything `content` has, and tells its name and length in bytes.
    pub fn insert(&self, mut content: impl Read) -> Result<(Digest, u64), StoreError> {
        fs::create_dir_all(&self.directory).map_err(at(&self.directory))?;
        let mut file =
            tempfile::NamedTempFile::new_in(&self.directory).map_err(at(&self.directory))?;
        let mut hasher = Hasher::default();
        let mut length = 0;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StoreError::Content { file: String::new(), source }),
            };
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(at(file.path()))?;
            length += read as u64;
        }
        let blob = hasher.finish();
        let path = self.path(&blob);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        file.persist(&path).map_err(|error| at(&path)(error.error))?;
        Ok((blob, length))
    }

    /// Reads a blob and checks that it is what its name says.
    pub fn verify(&self, blob: &Digest) -> Result<(), StoreError> {
        let path = self.path(blob);
        let mut file = File::open(&path).map_err(at(&path))?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match file.read(&mut buffer).map_err(at(&path))? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let found = hasher.finish();
        if found != *blob {
            return Err(StoreError::Digest { expected: *blob, found });
        }
        Ok(())
    }
}

impl Blobs for DirStore {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match File::open(self.path(blob)) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(io::Error::new(error.kind(), format!("blob {blob}: {error}"))),
        }
    }
}

/// Where [`save`] keeps the blobs of the tree saved in `directory`.
pub fn blobs_of(directory: &Path) -> PathBuf {
    directory.join(BLOBS)
}

/// Saves a tree in `directory`, which is made if it is missing. The manifest is put in place last: as
/// long as it is not there, nothing was saved. An older tree in the directory is replaced by that, its
/// blobs stay.
pub fn save(directory: &Path, tree: &Tree, blobs: &dyn Blobs) -> Result<(), StoreError> {
    keep_blobs(directory, tree, blobs)?;
    seal(directory, tree)
}

/// The first half of [`save`]: those blobs of `tree` that are not in `directory` yet.
pub fn keep_blobs(directory: &Path, tree: &Tree, blobs: &dyn Blobs) -> Result<(), StoreError> {
    let store = DirStore::new(directory.join(BLOBS));
    fs::create_dir_all(directory).map_err(at(directory))?;
    for entry in tree.walk() {
        let Kind::File(file) = &entry.inode.kind else { continue };
        if store.contains(&file.blob) {
            continue;
        }
        let content = |source| {
            let file = String::from_utf8_lossy(&entry.path).into_owned();
            StoreError::Content { file, source }
        };
        let reader = blobs.open(&file.blob).map_err(content)?;
        let (found, _) = store.insert(reader).map_err(|error| match error {
            StoreError::Content { source, .. } => content(source),
            error => error,
        })?;
        if found != file.blob {
            return Err(StoreError::Digest { expected: file.blob, found });
        }
    }
    Ok(())
}

/// The second half of [`save`]: the manifest of `tree`, when everything else is on disk.
pub fn seal(directory: &Path, tree: &Tree) -> Result<(), StoreError> {
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(at(directory))?;
    let mut buffered = BufWriter::new(&mut file);
    let written = manifest::write(tree, &mut buffered).and_then(|()| buffered.flush());
    drop(buffered);
    // Blobs must be on disk before the name that says that they are.
    written.and_then(|()| Ok(rustix::fs::syncfs(file.as_file())?)).map_err(at(file.path()))?;
    let path = directory.join(MANIFEST);
    file.persist(&path).map_err(|error| at(&path)(error.error))?;
    Ok(())
}

/// Loads the tree saved in `directory`. Blobs are not checked.
pub fn load(directory: &Path) -> Result<(Tree, DirStore), StoreError> {
    let path = directory.join(MANIFEST);
    let text = fs::read(&path).map_err(at(&path))?;
    let tree = manifest::parse(&text).map_err(|source| StoreError::Manifest { path, source })?;
    Ok((tree, DirStore::new(directory.join(BLOBS))))
}

/// Whether `directory` has a manifest of a tree, of whatever version.
pub fn is_saved_tree(directory: &Path) -> Result<bool, StoreError> {
    let path = directory.join(MANIFEST);
    let word = manifest::HEADER.split(' ').next().unwrap_or_default().as_bytes();
    let mut start = Vec::new();
    match File::open(&path) {
        Ok(file) => match file.take(word.len() as u64 + 1).read_to_end(&mut start) {
            Ok(_) => Ok(start.strip_prefix(word) == Some(b" ")),
            // Something else of that name: a directory.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(false),
            Err(error) => Err(at(&path)(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&path)(error)),
    }
}
