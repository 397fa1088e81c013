//! The directory becomes a saved tree. Its files are not copied: they become the blobs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tree::scan::ScannedBlobs;
use tree::store::{self, DirStore};
use tree::{Kind, LayeredBlobs, MemoryBlobs, Tree};

use super::Fault;

/// Saves `tree` in `output`; what is the same in `base`, a saved tree's, becomes a link to that. The files it was scanned from are no longer where they were after this.
pub(super) fn save(
    tree: &Tree,
    scanned: ScannedBlobs,
    generated: MemoryBlobs,
    base: Option<&DirStore>,
    output: &Path,
) -> Result<(), Fault> {
    let fault =
        |error: &dyn std::fmt::Display| Fault::Told(format!("{}: {error}", output.display()));
    let blobs = LayeredBlobs { upper: generated, lower: scanned };
    let kept = DirStore::new(store::blobs_of(output));
    for entry in tree.walk() {
        let Kind::File(file) = &entry.inode.kind else { continue };
        if kept.contains(&file.blob) {
            continue;
        }
        // The others are saved with the tree.
        let Some(path) = blobs.lower.whole_file(&file.blob) else { continue };
        let place = kept.path(&file.blob);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(|error| fault(&error))?;
        }
        let shared = base.is_some_and(|base| fs::hard_link(base.path(&file.blob), &place).is_ok());
        if !shared {
            adopt(path, &place).map_err(|error| fault(&error))?;
        }
    }
    store::save(output, tree, &blobs).map_err(|error| fault(&error))
}

/// A blob belongs to whoever builds, and nobody writes to it.
fn adopt(path: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(0), Some(0))?;
    fs::set_permissions(path, Permissions::from_mode(0o644))?;
    fs::rename(path, place)
}
