//! The darksite's directory and what is in it.
//!
//! ```text
//! blobs/ partial/     the store: every file once, named by its SHA-256
//! locks/NAME-ID.lock  what was brought for each recipe, last
//! locks/NAME-ID.next  what is to be brought for it, from update to sync
//! seen/               the newest date of each suite, and of each keyring that recipes name
//! keys/               the key that signs what is published
//! snapshots/ID/       repositories: dists/ pool/ upstream/ darksite.lock darksite.asc
//! current -> snapshots/ID
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use pkg::distribution::DistributionError;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::lock::{self, Lock, LockError};
use crate::publish::date_of;
use crate::seen::Seen;
use crate::store::{Store, StoreError, at, write_file};

/// Name of the lock in a repository.
pub const LOCK_FILE: &str = "darksite.lock";
/// Name of the public key in a repository.
pub const KEY_FILE: &str = "darksite.asc";
/// Name of the link to the newest snapshot.
pub const CURRENT: &str = "current";
/// Endings of the locks of recipes: brought, and to be brought.
const LOCK: &str = "lock";
const NEXT: &str = "next";
/// Longest lock file read, in bytes.
const LOCK_LIMIT: u64 = 256 << 20;

/// A problem of the directory.
#[derive(Debug, Error)]
pub enum SiteError {
    /// A file or blob failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock file cannot be used.
    #[error("{}: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: LockError,
    },
    /// What a lock needs is not known, so that all of it might be in use.
    #[error("nothing is removed, as a lock that cannot be read might need it; {way}: {source}")]
    Unknown {
        /// What removes the lock.
        way: String,
        /// What is wrong with it.
        source: Box<SiteError>,
    },
    /// Another process works here.
    #[error("{}: another kldload works here; try again when it has ended", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Nobody knows what to do with a lock's distribution.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// No lock has this name.
    #[error("{}: no lock is named {name}; kldload darksite list tells their names", path.display())]
    NoLock {
        /// The directory.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// No snapshot has this id.
    #[error("{}: there is no snapshot {id}; kldload darksite list tells their ids", path.display())]
    NoSnapshot {
        /// The directory.
        path: PathBuf,
        /// The id.
        id: String,
    },
    /// Snapshots are there, and none is the current one.
    #[error(
        "{}: it leads to no snapshot, though some are there, the newest of which is {newest}; kldload darksite \
         sync publishes one that is current, --snapshot names another where a command has it",
        path.display()
    )]
    NoCurrent {
        /// The link.
        path: PathBuf,
        /// Id of the newest snapshot.
        newest: String,
    },
    /// There is nothing yet.
    #[error("{}: nothing was published here yet; run kldload darksite sync", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

/// A darksite.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
    store: Store,
}

/// Keeps others from removing, or from doing anything, as long as it lives.
#[derive(Debug)]
#[must_use]
pub struct Guard(#[allow(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Site {
    /// The darksite in `root`, which is made if it does not exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, SiteError> {
        let root = root.into();
        let store = Store::open(&root)?;
        for name in ["locks", "snapshots", "seen"] {
            let directory = root.join(name);
            fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        Ok(Self { root, store })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its blobs.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The dates seen of a distribution's suites.
    pub fn seen(&self, distribution: &str) -> Seen {
        Seen::new(self.root.join("seen"), distribution)
    }

    /// Where the key is kept.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The darksite that `path` is or lies in, also if nothing of that name is there yet.
    pub fn around(path: &Path) -> Option<PathBuf> {
        let absolute = std::path::absolute(path).ok()?;
        let real = absolute.ancestors().find_map(|path| fs::canonicalize(path).ok())?;
        let is_site =
            |path: &&Path| ["blobs", "snapshots"].iter().all(|name| path.join(name).is_dir());
        real.ancestors().find(is_site).map(Path::to_owned)
    }

    /// Where the snapshots are.
    pub fn snapshots_directory(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Waits until nobody removes anything, and keeps it so.
    pub fn guard(&self) -> Result<Guard, SiteError> {
        self.guard_with(FlockOperation::LockShared)
    }

    /// Makes sure that nobody else works here, at once or not at all.
    pub fn guard_alone(&self) -> Result<Guard, SiteError> {
        self.guard_with(FlockOperation::NonBlockingLockExclusive)
    }

    fn guard_with(&self, operation: FlockOperation) -> Result<Guard, SiteError> {
        let path = self.root.join(".guard");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        // Who may only read, as from a read-only medium, keeps others away all the same.
        let may_not = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];
        let file = match file {
            Err(error) if may_not.contains(&error.kind()) => match File::open(&path) {
                // Nobody has worked here since it was copied.
                Err(absent) if absent.kind() == io::ErrorKind::NotFound => File::open(&self.root),
                opened => opened,
            },
            opened => opened,
        };
        let file = file.map_err(at(&path))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Guard(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(SiteError::Busy { path: self.root.clone() }),
            Err(error) => Err(at(&path)(error.into()).into()),
        }
    }

    /// Keeps `lock`, all of which is in the store, under a name, in place of the one before.
    pub fn save_lock(&self, name: &str, lock: &Lock) -> Result<(), SiteError> {
        write_lock(&self.lock_path(name, LOCK), lock)?;
        let next = self.lock_path(name, NEXT);
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&next)(error).into()),
            _ => Ok(()),
        }
    }

    /// Keeps `lock`, of which only the indexes need be in the store, until [`Site::save_lock`] of this
    /// name. Nothing that it names is removed; nobody asks for the rest of it.
    pub fn save_next_lock(&self, name: &str, lock: &Lock) -> Result<(), SiteError> {
        write_lock(&self.lock_path(name, NEXT), lock)
    }

    /// The lock that is kept under a name, if there is one that can be read.
    pub fn lock(&self, name: &str) -> Option<Lock> {
        read_lock(&self.lock_path(name, LOCK)).ok()
    }

    fn lock_path(&self, name: &str, extension: &str) -> PathBuf {
        self.root.join("locks").join(format!("{}.{extension}", name.replace('/', "_")))
    }

    /// The files of the lock that [`Site::locks`] names so: what was brought, and what is to be.
    pub(crate) fn lock_files(&self, name: &str) -> Result<Vec<PathBuf>, SiteError> {
        let mut paths = self.lock_paths(LOCK)?;
        paths.extend(self.lock_paths(NEXT)?);
        paths.retain(|path| path.file_stem().is_some_and(|stem| stem == name));
        match paths.is_empty() {
            true => Err(SiteError::NoLock { path: self.root.clone(), name: name.to_owned() }),
            false => Ok(paths),
        }
    }

    fn lock_paths(&self, extension: &str) -> Result<Vec<PathBuf>, SiteError> {
        let entries = entries(&self.root.join("locks"))?;
        let paths = entries.iter().map(fs::DirEntry::path);
        Ok(paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
    }

    /// Ids of the snapshots, the oldest first.
    pub fn snapshots(&self) -> Result<Vec<String>, SiteError> {
        // What begins with a dot is not complete.
        self.directories(|name, has_lock| !name.starts_with('.') && has_lock)
    }

    /// Directories that are named as snapshots are, and have lost their lock.
    pub(crate) fn halves(&self) -> Result<Vec<String>, SiteError> {
        self.directories(|name, has_lock| date_of(name).is_some() && !has_lock)
    }

    /// Names where the snapshots are, sorted; `wanted` hears of each whether it has a lock.
    fn directories(&self, wanted: impl Fn(&str, bool) -> bool) -> Result<Vec<String>, SiteError> {
        let mut found = Vec::new();
        for entry in entries(&self.snapshots_directory())? {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if path.is_dir() && wanted(&name, path.join(LOCK_FILE).is_file()) {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Id of the snapshot that `current` means; `None` before the first one.
    pub fn current(&self) -> Option<String> {
        let target = fs::read_link(self.root.join(CURRENT)).ok()?;
        let name = target.file_name()?.to_string_lossy().into_owned();
        self.snapshots_directory().join(&name).is_dir().then_some(name)
    }

    /// The repository of a snapshot, that of the current one if `id` is `None`.
    pub fn repository(&self, id: Option<&str>) -> Result<PathBuf, SiteError> {
        let path = self.root.clone();
        let id = match id {
            Some(id) if self.snapshots()?.iter().any(|known| known == id) => id.to_owned(),
            Some(id) => return Err(SiteError::NoSnapshot { path, id: id.to_owned() }),
            None => match (self.current(), self.snapshots()?.pop()) {
                (Some(id), _) => id,
                (None, Some(newest)) => {
                    return Err(SiteError::NoCurrent { path: path.join(CURRENT), newest });
                }
                (None, None) => return Err(SiteError::Empty { path }),
            },
        };
        Ok(self.snapshots_directory().join(id))
    }

    /// All locks that are kept: those of recipes, and those of snapshots. One that cannot be read, as of
    /// a newer kldload, is no reason not to look at the others.
    pub fn locks(&self) -> Result<Vec<KeptLock>, SiteError> {
        let mut paths = self.lock_paths(LOCK)?;
        let snapshots = self.snapshots()?.into_iter();
        paths.extend(snapshots.map(|id| self.snapshots_directory().join(id).join(LOCK_FILE)));
        paths.sort();
        Ok(read_locks(paths))
    }

    /// The locks of recipes that are to be brought next.
    pub fn next_locks(&self) -> Result<Vec<KeptLock>, SiteError> {
        Ok(read_locks(self.lock_paths(NEXT)?))
    }
}

/// A lock's file, and what is in it.
pub type KeptLock = (PathBuf, Result<Lock, SiteError>);

fn read_locks(paths: Vec<PathBuf>) -> Vec<KeptLock> {
    let read = |path: PathBuf| {
        let lock = read_lock(&path);
        (path, lock)
    };
    paths.into_iter().map(read).collect()
}

/// Reads a lock file.
pub fn read_lock(path: &Path) -> Result<Lock, SiteError> {
    let read = || {
        use io::Read;
        let mut bytes = Vec::new();
        File::open(path)?.take(LOCK_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(at(path))?;
    let parsed = str::from_utf8(&bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        LockError { line, problem: "a lock is text in UTF-8, this is not".to_owned() }
    });
    let parsed = parsed.and_then(lock::parse);
    parsed.map_err(|source| SiteError::Lock { path: path.to_owned(), source })
}

/// Writes a lock file, whole or not at all.
pub fn write_lock(path: &Path, lock: &Lock) -> Result<(), SiteError> {
    Ok(write_file(path, lock.to_string().as_bytes(), 0o644)?)
}

pub(crate) fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    fs::read_dir(directory).and_then(Iterator::collect).map_err(at(directory))
}
