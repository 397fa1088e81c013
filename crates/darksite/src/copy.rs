//! A repository copied to a medium. Who wants to know what arrived verifies the copy afterwards.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::family::family;
use crate::publish::UPSTREAM;
use crate::site::{LOCK_FILE, SiteError, entries, read_lock};
use crate::store::{StoreError, at, digest_of};

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that were written.
    pub copied: usize,
    /// Files that were there already, with the same content.
    pub kept: usize,
    /// Files of the repository that was there before, which are not in this one.
    pub removed: usize,
    /// Bytes written.
    pub bytes: u64,
}

/// Why a copy was not made.
#[derive(Debug, Error)]
pub enum CopyError {
    /// Reading or writing failed.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The target has something else in it.
    #[error(
        "{}: there are files of something else here ({found}); give an empty directory, or one with an \
         earlier copy",
        path.display()
    )]
    Foreign {
        /// The target.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Site(error.into())
    }
}

/// What a file system may have at its top.
const IGNORED: [&str; 2] = ["lost+found", "System Volume Information"];

/// Copies the repository in `from` to the directory `to`. Files that are right already are left, so that
/// a copy that was interrupted goes on. Indexes come after packages, and the signed files last: until
/// then the copy is what it was.
pub fn copy(from: &Path, to: &Path, advance: &dyn Fn(u64)) -> Result<Copied, CopyError> {
    let lock = read_lock(&from.join(LOCK_FILE))?;
    let family = family(&lock.distribution).map_err(SiteError::from)?;
    // What is not in the repository is removed from these.
    let own = [family.directories(), &[UPSTREAM]].concat();
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in entries(to)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = own.contains(&&*name)
            || name.starts_with("darksite.")
            || name.starts_with(".darksite-");
        if !known && !IGNORED.contains(&&*name) {
            return Err(CopyError::Foreign { path: to.to_owned(), found: name });
        }
    }
    let mut files = walk(from, Path::new(""))?;
    files.sort_by_key(|path| (family.copy_rank(path), path.clone()));
    let mut copied = Copied::default();
    for path in &files {
        let (source, target) = (from.join(path), to.join(path));
        match one(&source, &target, advance)? {
            Some(bytes) => {
                copied.copied += 1;
                copied.bytes += bytes;
            }
            None => copied.kept += 1,
        }
    }
    let wanted: std::collections::HashSet<&PathBuf> = files.iter().collect();
    for path in walk(to, Path::new(""))? {
        let is_own = path.iter().next().is_some_and(|first| own.iter().any(|name| first == *name));
        if is_own && !wanted.contains(&path) {
            let path = to.join(path);
            fs::remove_file(&path).map_err(at(&path))?;
            copied.removed += 1;
        }
    }
    let directory = File::open(to).map_err(at(to))?;
    rustix::fs::syncfs(&directory).map_err(|error| at(to)(error.into()))?;
    Ok(copied)
}

/// All regular files below `root`, as paths relative to it.
pub(crate) fn walk(root: &Path, below: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut todo = vec![below.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in entries(&root.join(&directory))? {
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().map_err(at(&entry.path()))?;
            let ignored = directory.as_os_str().is_empty()
                && IGNORED.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !ignored {
                todo.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Copies one file; `None` if it was there already.
fn one(source: &Path, target: &Path, advance: &dyn Fn(u64)) -> Result<Option<u64>, StoreError> {
    let size = fs::metadata(source).map_err(at(source))?.len();
    if fs::metadata(target).is_ok_and(|found| found.is_file() && found.len() == size) {
        let (ours, theirs) =
            (digest_of(source).map_err(at(source))?, digest_of(target).map_err(at(target))?);
        if ours == theirs {
            advance(size);
            return Ok(None);
        }
    }
    let directory = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(at(directory))?;
    let mut file = tempfile::Builder::new()
        .prefix(".darksite-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(at(directory))?;
    let mut from = File::open(source).map_err(at(source))?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(source)(error)),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        file.write_all(bytes).map_err(at(target))?;
        advance(read as u64);
    }
    file.persist(target).map_err(|error| at(target)(error.error))?;
    Ok(Some(size))
}
