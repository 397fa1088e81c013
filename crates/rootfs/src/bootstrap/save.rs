//! The directory becomes a saved tree. Its files are not copied: they become the blobs.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tree::scan::ScannedBlobs;
use tree::store::{self, DirStore};
use tree::{Digest, Kind, LayeredBlobs, MemoryBlobs, Tree};

use super::Fault;
use super::parallel::each;

/// Saves `tree`, scanned from the directory `root`, in `output`; what is the same in `base`, a saved tree's, becomes
/// a link to that. The directory is gone after this.
pub(super) fn save(
    tree: &Tree,
    scanned: ScannedBlobs,
    generated: MemoryBlobs,
    base: Option<&DirStore>,
    root: &Path,
    output: &Path,
) -> Result<(), Fault> {
    let fault =
        |error: &dyn std::fmt::Display| Fault::Told(format!("{}: {error}", output.display()));
    let blobs = LayeredBlobs { upper: generated, lower: scanned };
    let kept = DirStore::new(store::blobs_of(output));
    let digests: BTreeSet<&Digest> = tree
        .walk()
        .filter_map(|entry| match &entry.inode.kind {
            Kind::File(file) => Some(&file.blob),
            _ => None,
        })
        .collect();
    let places: Vec<(&Digest, PathBuf)> =
        digests.into_iter().map(|blob| (blob, kept.path(blob))).collect();
    let parents: BTreeSet<&Path> = places.iter().filter_map(|(_, place)| place.parent()).collect();
    for parent in parents {
        fs::create_dir_all(parent).map_err(|error| fault(&error))?;
    }
    each(&places, |(blob, place)| {
        if base.is_some_and(|base| fs::hard_link(base.path(blob), place).is_ok()) {
            return Ok(());
        }
        match blobs.lower.whole_file(blob) {
            Some(path) => adopt(path, place).map_err(|error| fault(&error)),
            None => Ok(()),
        }
    })?;
    // Those that were made here, and those with holes.
    store::keep_blobs(output, tree, &blobs).map_err(|error| fault(&error))?;
    // What is left there need not get to the disk, which is waited for below.
    fs::remove_dir_all(root).map_err(|error| fault(&error))?;
    store::seal(output, tree).map_err(|error| fault(&error))
}

/// A blob belongs to whoever builds, and nobody writes to it.
fn adopt(path: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(0), Some(0))?;
    fs::set_permissions(path, Permissions::from_mode(0o644))?;
    fs::rename(path, place)
}
