//! FAT32 volumes, made whole from a tree: directories and regular files with long names.
//!
//! Every file is one run of clusters. FAT has no owners, permissions or extended attributes:
//! those of the tree are not kept, and a file with two names is stored twice. Of a volume there is,
//! only what is in use is read; it is not changed.

mod format;
mod geometry;
mod name;
mod plan;
mod reader;
mod time;
mod writer;

use std::io;

use thiserror::Error;

pub use geometry::MIN_SIZE;
pub use reader::{FatReadError, used};
pub use writer::write;

/// What a volume says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// Serial number.
    pub volume_id: u32,
    /// At most 11 upper-case letters, digits, spaces (not first) and ``$%'-_@~`!(){}^#&``; empty
    /// for none.
    pub label: &'a str,
    /// Time of the label, in seconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// Sectors (512 bytes) of the disk before the volume: the partition's first LBA.
    pub hidden_sectors: u32,
}

/// Why a volume was not made. All but [`FatError::Blob`], [`FatError::BlobSize`] and
/// [`FatError::Io`] are found before the first byte is written; after those three there is no
/// boot sector.
#[derive(Debug, Error)]
pub enum FatError {
    /// Not a number of sectors.
    #[error("a FAT volume of {size} bytes is not possible; its size must be a multiple of 512")]
    Size {
        /// Bytes of the volume.
        size: u64,
    },
    /// Fewer than 65,525 clusters would not be FAT32.
    #[error(
        "a volume of {size} bytes is too small for FAT32; make the ESP at least {MIN_SIZE} bytes \
         (33 MiB)"
    )]
    TooSmall {
        /// Bytes of the volume.
        size: u64,
    },
    /// 32 bits cannot count the sectors.
    #[error("a volume of {size} bytes is too large for FAT32; it must be smaller than 2 TiB")]
    TooLarge {
        /// Bytes of the volume.
        size: u64,
    },
    /// The label is too long or has something that labels cannot have.
    #[error(
        "{label:?} is not a FAT label: at most 11 upper-case letters, digits and other ASCII \
         allowed in 8.3 names"
    )]
    Label {
        /// The label.
        label: String,
    },
    /// Neither a directory nor a regular file.
    #[error("{path:?} is a {kind}; FAT can hold only directories and regular files")]
    Kind {
        /// Where it is in the tree.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// The name is not possible.
    #[error("{path:?} cannot be on FAT: {why}")]
    Name {
        /// Where it is in the tree.
        path: String,
        /// What is wrong with its name.
        why: &'static str,
    },
    /// FAT does not know upper from lower case.
    #[error("{first:?} and {second:?} are the same name on FAT; rename one of them")]
    SameName {
        /// One path.
        first: String,
        /// The other.
        second: String,
    },
    /// 4 GiB and more.
    #[error("{path:?} has {size} bytes; a file on FAT has at most 4294967295")]
    FileTooLarge {
        /// Where it is in the tree.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// More than 2 MiB of entries.
    #[error(
        "the directory {path:?} needs {entries} entries; FAT allows 65536, long names count more"
    )]
    DirectoryTooLarge {
        /// Where it is in the tree.
        path: String,
        /// Entries needed.
        entries: usize,
    },
    /// The volume is too small for the tree.
    #[error(
        "the ESP is too small: its files need {need} bytes, it has room for {have}; make it larger \
         or put less on it"
    )]
    Full {
        /// Bytes needed, in whole clusters.
        need: u64,
        /// Bytes of all clusters.
        have: u64,
    },
    /// The data runs of a file overlap or lie outside it.
    #[error("the data runs of {path:?} overlap or lie outside its {size} bytes")]
    Extents {
        /// Where it is in the tree.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The content cannot be read.
    #[error("reading the content of {path:?}")]
    Blob {
        /// Where it is in the tree.
        path: String,
        /// The failure.
        source: io::Error,
    },
    /// The content is not as long as the tree says.
    #[error("the content of {path:?} is {found} than the {expected} bytes its tree says")]
    BlobSize {
        /// Where it is in the tree.
        path: String,
        /// Bytes of data the tree says.
        expected: u64,
        /// "shorter" or "longer".
        found: &'static str,
    },
    /// The volume failed.
    #[error("writing the FAT volume at offset {offset}")]
    Io {
        /// Byte offset in the volume.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
}
