//! Whatever a person may give as a tree: an archive, a directory, a saved tree.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tree::scan::{self, ScanError};
use tree::store::{self, StoreError};
use tree::{Blobs, Tree};

use crate::tar::{self, ImportError};

/// Why an input is not a tree.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The input cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io {
        /// The input.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is an archive, with a problem.
    #[error(transparent)]
    Archive(#[from] ImportError),
    /// It is a directory, with a problem.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It is a saved tree, with a problem.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the tree at `path`: a directory with a tree's manifest is a saved tree, any other directory is
/// scanned, anything else is a tar archive, compressed or not. `spool` and `progress` are those of
/// [`tar::import`]; the blobs are read from `path` as long as they are used.
pub fn open(
    path: &Path,
    spool: &Path,
    progress: &dyn Fn(u64),
) -> Result<(Tree, Box<dyn Blobs>), OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io_error)?.is_dir() {
        return Ok(tar::import(path, spool, progress)?);
    }
    if store::is_saved_tree(path)? {
        let (tree, blobs) = store::load(path)?;
        return Ok((tree, Box::new(blobs)));
    }
    // A link to a directory is meant as the directory.
    let path = fs::canonicalize(path).map_err(io_error)?;
    let (tree, blobs) = scan::scan(&path, progress)?;
    Ok((tree, Box::new(blobs)))
}
