//! What stands between the bytes on a device and a block: checksums and compression.
//!
//! A block pointer names a [`Checksum`] and a [`BlockCompression`]. [`Checksums`] holds the state
//! that a pool's salt determines and judges stored bytes; [`decompress`] gives back the block.
//! [`embedded_payload`] takes the bytes out of block pointers that hold their block themselves.
//! Nothing here reads a device, allocates by what the input says, or panics on hostile input.

mod checksum;
mod edonr;
mod embedded;
mod error;
pub(crate) mod fletcher;
mod inflate;
#[cfg_attr(not(feature = "std"), path = "libraries_bare.rs")]
mod libraries;
mod lzjb;
mod skein;
#[cfg(test)]
mod tests;
mod verify;
mod zle;

pub use checksum::Checksum;
pub use embedded::{EmbeddedPayload, embedded_payload};
pub use error::CodecError;
pub use inflate::{BlockCompression, Decompressor, decompress};
pub use verify::Checksums;

/// In which order the machine that wrote a block stored the bytes of its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ByteOrder {
    /// Least significant byte first, as on x86 and ARM.
    #[default]
    Little,
    /// Most significant byte first, as on SPARC and old POWER.
    Big,
}

impl ByteOrder {
    /// Eight bytes as a word.
    pub fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// Four bytes as a word.
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// A word as eight bytes.
    pub fn bytes(self, word: u64) -> [u8; 8] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }

    /// The first 32 bytes of a digest as the four words of a block pointer's checksum.
    pub(crate) fn words(self, digest: &[u8; 32]) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_chunks::<8>().0) {
            *word = self.u64(*bytes);
        }
        words
    }
}
