//! What can be wrong with a block's bytes.

use super::{BlockCompression, Checksum};

/// Why a block's bytes were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not sum to what the block pointer says.
    #[error("{checksum} checksum is {actual:016x?}, {expected:016x?} is recorded")]
    Mismatch {
        /// The algorithm.
        checksum: Checksum,
        /// What the block pointer (or the block's own trailer) says.
        expected: [u64; 4],
        /// What the bytes sum to.
        actual: [u64; 4],
    },
    /// A block that carries its own checksum has no trailer where one must be.
    #[error("no {checksum} checksum trailer in a block of {length} bytes (magic {magic:#018x})")]
    NoTrailer {
        /// The algorithm.
        checksum: Checksum,
        /// The block's length in bytes.
        length: usize,
        /// What is in the magic's place; 0 when the block is too short for one.
        magic: u64,
    },
    /// A checksum that needs the pool's salt, and the pool has none.
    #[error("{0} checksums need the pool's salt (org.illumos:checksum_salt), which is missing")]
    NoSalt(Checksum),
    /// A number that is no checksum (`enum zio_checksum`).
    #[error("checksum {0} is not known; 2 to 14 are")]
    UnknownChecksum(u8),
    /// A checksum that stands in the block itself where one in the block pointer was expected, or
    /// the other way round.
    #[error("a {0} checksum cannot be used here")]
    WrongPlace(Checksum),
    /// A number that is no compression (`enum zio_compress`).
    #[error("compression {0} is not known; 2 to 16 are")]
    UnknownCompression(u8),
    /// Bytes that do not decompress to a block of the expected size.
    #[error("{compression} data of {input} bytes does not give a block of {output}: {reason}")]
    Compressed {
        /// The algorithm.
        compression: BlockCompression,
        /// Length of the compressed bytes.
        input: usize,
        /// The size that the block must have.
        output: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// An embedded block pointer with impossible sizes.
    #[error("an embedded block pointer tells of {0} bytes of payload; 1 to 112 fit")]
    EmbeddedSize(u64),
}
