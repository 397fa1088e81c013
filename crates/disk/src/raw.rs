//! A raw image: the bytes of the disk, zeros left as holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blk::ReadAt;
use thiserror::Error;

use crate::sparse::{self, SourceError};

/// Runs of zeros of this size become holes; the block size of common file systems.
const BLOCK: usize = 4096;

/// Why a raw image was not written. What is in the output then is of no use.
#[derive(Debug, Error)]
pub enum RawError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output failed.
    #[error("writing the raw image at offset {offset}")]
    Output {
        /// Byte offset in the output.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
}

/// Copies `source` into the regular file `out`, whose old content goes. `progress` is told how
/// many bytes of the source are done.
pub fn write(
    source: &dyn ReadAt,
    out: &File,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RawError> {
    let fail = |offset| move |source| RawError::Output { offset, source };
    let size = source.size().map_err(|source| SourceError { offset: 0, source })?;
    out.set_len(0).and_then(|()| out.set_len(size)).map_err(fail(size))?;
    sparse::copy(source, BLOCK, progress, |offset, bytes| {
        out.write_all_at(bytes, offset).map_err(fail(offset))
    })
}
