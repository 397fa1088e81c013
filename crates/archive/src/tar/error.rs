//! What can be wrong with a tar archive, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why an archive was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The archive could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The archive.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The archive is not one that can be used.
    #[error("{}: {source}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: TarError,
    },
    /// The temporary file that holds the contents of a compressed archive failed.
    #[error("{}: cannot keep unpacked files: {source}", path.display())]
    Spool {
        /// The directory of the temporary file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A problem at a place in an archive.
#[derive(Debug)]
pub struct TarError {
    /// Where the header of the entry starts, in bytes of the (decompressed) archive.
    pub offset: u64,
    /// Path of the entry, as the archive has it, if it was known already.
    pub entry: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.entry {
            write!(f, "entry {entry:?} ")?;
        }
        write!(f, "at byte {}: {}", self.offset, self.problem)
    }
}

impl std::error::Error for TarError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What is wrong with an entry of an archive.
#[derive(Debug, Error)]
pub enum Problem {
    /// Reading or decompressing failed.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// The archive ends inside an entry or without the zero block that ends an archive.
    #[error("the archive ends here, before its end mark; it is truncated")]
    Truncated,
    /// Something other than zeros follows the end of the archive.
    #[error("data follows the end of the archive; concatenated archives are not supported")]
    TrailingData,
    /// The first block is not a header at all.
    #[error("this is not a tar archive")]
    NotTar,
    /// The sum over the header is wrong.
    #[error("the header's checksum is wrong; the archive is damaged")]
    Checksum,
    /// A numeric field has no number, or one that is out of range.
    #[error("field {field} of the header has no usable number: {value:?}")]
    Number {
        /// Name of the field.
        field: &'static str,
        /// Its bytes.
        value: String,
    },
    /// The extended headers (PAX, and GNU long names) of an entry are larger than 16 MiB.
    #[error("extended headers of {0} bytes are larger than the limit of {limit} bytes", limit = super::EXTENDED_LIMIT)]
    HugeHeader(u64),
    /// A PAX record is malformed or has a value that makes no sense.
    #[error("PAX record {key:?} is not valid: {reason}")]
    Pax {
        /// Its keyword, as far as known.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A typeflag or feature this reader does not have.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The map of a sparse file contradicts itself or the sizes.
    #[error("the map of this sparse file is wrong: {0}")]
    Sparse(&'static str),
    /// The path starts with a slash.
    #[error("the path is absolute; make the archive with relative paths")]
    AbsolutePath,
    /// The path has a component `..`.
    #[error("the path has a component '..'")]
    ParentPath,
    /// The path, or the target of a link, is longer than Linux can use, or empty.
    #[error("the {what} has {length} bytes; Linux can use 1 to 4095")]
    PathLength {
        /// Path or target.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A component of the path is not a possible file name, or a hard link is impossible.
    #[error(transparent)]
    Name(#[from] tree::TreeError),
    /// A component of the path before the last one is a symbolic link.
    #[error("the path leads through the symbolic link {0:?}")]
    ThroughSymlink(String),
    /// A component of the path before the last one is a file.
    #[error("the path leads through {0:?}, which is not a directory")]
    ThroughFile(String),
    /// The path was in the archive already.
    #[error("the path occurs a second time")]
    Duplicate,
    /// A hard link to something that is not in the archive before it.
    #[error("hard link to {0:?}, which is not in the archive before it")]
    LinkTarget(String),
    /// A hard link with file content of its own.
    #[error("a hard link with content of its own ({0} bytes)")]
    LinkWithData(u64),
}
