//! Removing what nothing names any more.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use crate::site::{Site, SiteError, entries};
use crate::store::at;
use crate::verify;

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of locks.
    pub locks: Vec<String>,
    /// Ids of snapshots.
    pub snapshots: Vec<String>,
    /// Number of blobs.
    pub blobs: usize,
    /// Number of unfinished downloads.
    pub partials: usize,
    /// Bytes of the blobs and of unfinished downloads.
    pub bytes: u64,
    /// Blobs that stay.
    pub kept: usize,
}

/// Removes the locks of the names in `forget`; all snapshots but the newest `keep` (all stay if that is `None`; the
/// current one always stays) and those without a lock, which serve nobody; then every blob that no snapshot and no
/// lock names. With `dry_run` it only tells.
pub fn collect(
    site: &Site,
    forget: &[String],
    keep: Option<usize>,
    dry_run: bool,
) -> Result<Removed, SiteError> {
    let _guard = site.guard_alone()?;
    let mut removed = Removed { locks: forget.to_vec(), ..Removed::default() };
    removed.locks.sort();
    removed.locks.dedup();
    let mut forgotten = Vec::new();
    for name in &removed.locks {
        forgotten.extend(site.lock_files(name)?);
    }
    let mut snapshots = site.snapshots()?;
    let current = site.current();
    // Names begin with the second; of two made in one, the current one is the newer.
    snapshots
        .sort_by_key(|id| (id.split('-').next().map(str::to_owned), Some(id) == current.as_ref()));
    let surplus = keep.map_or(0, |keep| snapshots.len().saturating_sub(keep));
    for id in snapshots.into_iter().take(surplus).filter(|id| Some(id) != current.as_ref()) {
        removed.snapshots.push(id);
    }
    let directory = site.snapshots_directory();
    let gone = |path: &PathBuf| {
        forgotten.contains(path)
            || removed.snapshots.iter().any(|id| path.starts_with(directory.join(id)))
    };
    // A lock that cannot be read might name anything: then nothing is removed.
    let mut needed = HashSet::new();
    for (path, lock) in site.locks()?.into_iter().chain(site.next_locks()?) {
        if !gone(&path) {
            let is_published = path.starts_with(&directory);
            let unknown = |source| SiteError::Unknown {
                way: match is_published {
                    true => verify::OLD.to_owned(),
                    false => verify::forget(&path),
                },
                source: Box::new(source),
            };
            needed.extend(lock.map_err(unknown)?.blobs().map(|blob| blob.digest));
        }
    }
    let halves = site.halves()?.into_iter().filter(|id| Some(id) != current.as_ref());
    removed.snapshots.extend(halves);
    if !dry_run {
        for path in &forgotten {
            fs::remove_file(path).map_err(at(path))?;
        }
        for id in &removed.snapshots {
            // Under a name that is no snapshot's, so that half a repository is never seen as one.
            let (path, doomed) = (directory.join(id), directory.join(format!(".old-{id}")));
            fs::rename(&path, &doomed).map_err(at(&path))?;
        }
        for entry in entries(&directory)? {
            // What a killed process left behind too; nobody else is here. All that is ours are directories.
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') && path.is_dir() {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
    }
    let (partials, bytes) = site.store().remove_partials(dry_run)?;
    removed.partials += partials;
    removed.bytes += bytes;
    for (blob, length) in site.store().list()? {
        if needed.contains(&blob) {
            removed.kept += 1;
            continue;
        }
        if !dry_run {
            site.store().remove(&blob)?;
        }
        removed.blobs += 1;
        removed.bytes += length;
    }
    Ok(removed)
}
