//! What is wrong with an image file.

use std::io;

use thiserror::Error;

use super::Format;

/// Why an image cannot be opened or read.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file failed or ends too early.
    #[error("reading {length} bytes at offset {offset} of the {format} image")]
    Io {
        /// What the file is.
        format: Format,
        /// Byte offset in the file.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The failure.
        source: io::Error,
    },
    /// A field cannot be.
    #[error("the {format} image is damaged: {field} at offset {offset} is {value:#x}; {expected}")]
    Field {
        /// What the file is.
        format: Format,
        /// Byte offset in the file.
        offset: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would be right.
        expected: String,
    },
    /// A text inside is not what it should be.
    #[error("the {format} image is damaged: {what}")]
    Text {
        /// What the file is.
        format: Format,
        /// What is wrong, with the line.
        what: String,
    },
    /// Compressed bytes cannot be expanded.
    #[error(
        "the {format} image is damaged: the {packed} compressed bytes at offset {offset} {why}"
    )]
    Compressed {
        /// What the file is.
        format: Format,
        /// Byte offset in the file.
        offset: u64,
        /// How many they are.
        packed: u64,
        /// What is wrong with them.
        why: &'static str,
    },
    /// The image is sound, but of a kind that is not read here.
    #[error("the {format} image {what}")]
    Unsupported {
        /// What the file is.
        format: Format,
        /// What it has, and what to do instead.
        what: String,
    },
    /// The image is sound, but a part of its content is in a file that it names. Such a name is not followed: an
    /// image from elsewhere could name anything.
    #[error("the {format} image {what}")]
    Elsewhere {
        /// What the file is.
        format: Format,
        /// What it has, and what to do instead.
        what: String,
    },
    /// It is no image of a disk, or of a kind that is not read here.
    #[error("this is {what}")]
    Foreign {
        /// What it is, and what to do.
        what: &'static str,
    },
    /// The image itself cannot be opened.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// Another file that belongs to the image.
    #[error("opening {name:?}, which the {format} image needs")]
    Companion {
        /// What the file is.
        format: Format,
        /// The other file.
        name: String,
        /// The failure.
        source: io::Error,
    },
}

/// Inside [`blk::ReadAt`] a damaged image is an I/O error like any other.
impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
