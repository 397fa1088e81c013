//! Why a pool could not be written.

use std::io;

use thiserror::Error;
use tree::Digest;

use super::alloc::NoSpace;
use crate::label;
use crate::property::PropertyError;
use crate::sa::SaError;
use crate::zap::ZapError;

/// Why a pool could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The device is too small for any pool.
    #[error("a pool needs at least {min} bytes, there are {size}", min = label::MIN_DEVICE_SIZE)]
    DeviceTooSmall {
        /// The device's size.
        size: u64,
    },
    /// The content does not fit.
    #[error(
        "the pool is full: {allocated} of {size} bytes are in use, of which OpenZFS keeps {slop} \
         free; use a larger disk"
    )]
    NoSpace {
        /// Bytes allocated so far.
        allocated: u64,
        /// Bytes there are.
        size: u64,
        /// Bytes that must stay free.
        slop: u64,
    },
    /// A dataset's name, or the order of the datasets.
    #[error("dataset {name:?}: {reason}")]
    Dataset {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A property of a dataset.
    #[error("dataset {dataset:?}: {source}")]
    Property {
        /// Its name.
        dataset: String,
        /// What is wrong.
        source: PropertyError,
    },
    /// The dataset to boot from is not among the datasets.
    #[error("bootfs {0:?} is not a dataset of the pool")]
    Bootfs(String),
    /// The content of a file cannot be read.
    #[error("cannot read blob {blob}: {source}")]
    Blob {
        /// The blob.
        blob: Digest,
        /// Why.
        source: io::Error,
    },
    /// The content of a file cannot be read to its end.
    #[error("cannot read blob {blob} for object {object}: {source}")]
    ShortBlob {
        /// The blob.
        blob: Digest,
        /// The file's object.
        object: u64,
        /// Why.
        source: io::Error,
    },
    /// A blob has more bytes than the file it belongs to.
    #[error("blob {blob} is longer than the {size} bytes of its file")]
    LongBlob {
        /// The blob.
        blob: Digest,
        /// Bytes the file has.
        size: u64,
    },
    /// A directory or another table cannot be stored.
    #[error("object {object}: {source}")]
    Zap {
        /// The object.
        object: u64,
        /// Why.
        source: ZapError,
    },
    /// Attributes of a file cannot be stored.
    #[error("object {object}: {source}")]
    Attributes {
        /// The object.
        object: u64,
        /// Why.
        source: SaError,
    },
    /// More objects than this writer can number.
    #[error("more than 4294967295 objects in one dataset, or too many datasets")]
    TooManyObjects,
    /// A mistake of the writer itself: the room for an object does not fit what goes there.
    #[error("object {object} of the MOS does not fit the room laid out for it; this is a bug")]
    Layout {
        /// The object.
        object: u64,
    },
    /// The disk cannot be written, or a worker failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Internal form of [`Self::NoSpace`], before the totals are known.
    #[error("no room for a block of {needed} bytes")]
    #[doc(hidden)]
    BlockNoSpace {
        /// The block's size.
        needed: u64,
    },
}

impl From<NoSpace> for WriteError {
    fn from(NoSpace { needed }: NoSpace) -> Self {
        Self::BlockNoSpace { needed }
    }
}
