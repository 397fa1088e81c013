//! A repository copied to a medium. Who wants to know what arrived verifies the copy afterwards.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::family::family;
use crate::publish::UPSTREAM;
use crate::site::{LOCK_FILE, Site, SiteError, entries, read_lock};
use crate::store::{StoreError, at, digest_of, sync_file_system};

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
        "{}: {found}, and files of somebody else could be lost; give an empty directory, or one with nothing \
         but an earlier copy",
        path.display()
    )]
    Foreign {
        /// The target.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The target is a part of a darksite.
    #[error(
        "{}: it lies in the darksite {}, and what that published could be overwritten; give a directory that \
         is in no darksite",
        path.display(),
        site.display()
    )]
    Inside {
        /// The target.
        path: PathBuf,
        /// The darksite's directory.
        site: PathBuf,
    },
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Site(error.into())
    }
}

/// What a file system may have at its top.
const IGNORED: [&str; 2] = ["lost+found", "System Volume Information"];
/// How the names of files begin that are not complete.
const TEMPORARY: &str = ".darksite-";

/// Copies the repository in `from` to the directory `to`, which is empty or has an earlier copy. Files that
/// are right already are left, so that a copy that was interrupted goes on.
///
/// First comes what can stand beside the files of an earlier copy: packages, and indexes that are named by
/// their digests. Interrupted until then, the copy is what it was, unless a package of the same name changed.
/// What follows replaces what has its name, what clients read first last; between the first and the last of
/// these it is a mix, until the next copy. The files that only the earlier one had go in the end. Each step is
/// on the medium before the next one begins.
pub fn copy(from: &Path, to: &Path, advance: &dyn Fn(u64)) -> Result<Copied, CopyError> {
    let lock = read_lock(&from.join(LOCK_FILE))?;
    let family = family(&lock.distribution).map_err(SiteError::from)?;
    // What is not in the repository is removed from these.
    let own = [family.directories(), &[UPSTREAM]].concat();
    outside(to)?;
    fs::create_dir_all(to).map_err(at(to))?;
    // Where a path with `..` leads shows when all its directories are there.
    outside(to)?;
    let is_empty = check(to, &own)?;
    // The lock says whose files these are, also when no more than this was copied.
    let step = |path: &Path| match is_empty && path == Path::new(LOCK_FILE) {
        true => 0,
        false => 1 + family.copy_rank(path),
    };
    let mut files = walk(from)?;
    files.sort_by_cached_key(|path| (step(path), to.join(path).exists(), path.clone()));
    let mut copied = Copied::default();
    for files in files.chunk_by(|one, next| step(one) == step(next)) {
        let before = copied.copied;
        for path in files {
            match one(&from.join(path), &to.join(path), advance)? {
                Some(bytes) => {
                    copied.copied += 1;
                    copied.bytes += bytes;
                }
                None => copied.kept += 1,
            }
        }
        if copied.copied > before {
            sync_file_system(to)?;
        }
    }
    let wanted: HashSet<&PathBuf> = files.iter().collect();
    for path in walk(to)? {
        let is_own = path.iter().next().is_some_and(|first| own.iter().any(|name| first == *name));
        if is_own && !wanted.contains(&path) {
            let path = to.join(path);
            fs::remove_file(&path).map_err(at(&path))?;
            copied.removed += 1;
        }
    }
    sync_file_system(to)?;
    Ok(copied)
}

/// Refuses what is in a darksite, its snapshots above all: each of them looks like an earlier copy.
fn outside(to: &Path) -> Result<(), CopyError> {
    match Site::around(to) {
        Some(site) => Err(CopyError::Inside { path: to.to_owned(), site }),
        None => Ok(()),
    }
}

/// Whether a target is empty; if not, it must have an earlier copy and nothing else. `own` has the directories
/// of a repository.
fn check(to: &Path, own: &[&str]) -> Result<bool, CopyError> {
    let names =
        entries(to)?.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // What a copy that was interrupted was just writing is nobody's.
    let mut names: Vec<String> =
        names.filter(|name| !IGNORED.contains(&&**name) && !name.starts_with(TEMPORARY)).collect();
    names.sort();
    let Some(first) = names.first() else { return Ok(true) };
    let stranger =
        names.iter().find(|name| !own.contains(&&***name) && !name.starts_with("darksite."));
    // Others have directories of these names, too.
    let found = match (stranger, read_lock(&to.join(LOCK_FILE))) {
        (None, Ok(_)) => return Ok(false),
        (Some(name), _) => format!("there is {name}, which is not of a copy"),
        (None, Err(error)) => format!("there is {first}, but no lock of an earlier copy ({error})"),
    };
    Err(CopyError::Foreign { path: to.to_owned(), found })
}

/// All regular files below `root`, as paths relative to it.
pub(crate) fn walk(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
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
        .prefix(TEMPORARY)
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
