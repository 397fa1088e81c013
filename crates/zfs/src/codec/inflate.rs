//! Decompression of blocks, out of the frames that OpenZFS puts around each algorithm.
//!
//! Source: OpenZFS `include/sys/zio_compress.h`, `module/zfs/lz4_zfs.c` (4-byte big-endian length
//! first), `module/zstd/zfs_zstd.c` (8-byte header, magicless frame), `module/zfs/gzip.c` (a zlib
//! stream). Compressed blocks are padded to whole sectors; what follows the compressed bytes does
//! not count. A block must come out at exactly its logical size.

use core::fmt;

use super::libraries::{Zlib, Zstd};
use super::{CodecError, lzjb, zle};

/// How a stored block is compressed (`enum zio_compress`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockCompression {
    /// Stored as it is.
    Off,
    /// LZJB.
    Lzjb,
    /// Nothing is stored: the block is zeros.
    Empty,
    /// A zlib stream, written at level 1 to 9.
    Gzip(u8),
    /// Zero-length encoding.
    Zle,
    /// LZ4.
    Lz4,
    /// zstd; the level is in the block's header.
    Zstd,
}

impl BlockCompression {
    /// The compression of a block pointer's number.
    pub fn from_number(number: u8) -> Result<Self, CodecError> {
        Ok(match number {
            2 => Self::Off,
            3 => Self::Lzjb,
            4 => Self::Empty,
            5..=13 => Self::Gzip(number - 4),
            14 => Self::Zle,
            15 => Self::Lz4,
            16 => Self::Zstd,
            _ => return Err(CodecError::UnknownCompression(number)),
        })
    }

    /// The number in a block pointer.
    pub fn number(self) -> u8 {
        match self {
            Self::Off => 2,
            Self::Lzjb => 3,
            Self::Empty => 4,
            Self::Gzip(level) => 4 + level,
            Self::Zle => 14,
            Self::Lz4 => 15,
            Self::Zstd => 16,
        }
    }
}

impl fmt::Display for BlockCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("uncompressed"),
            Self::Lzjb => f.write_str("lzjb"),
            Self::Empty => f.write_str("empty"),
            Self::Gzip(level) => write!(f, "gzip-{level}"),
            Self::Zle => f.write_str("zle"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd => f.write_str("zstd"),
        }
    }
}

/// The working memory of decompression, one for each thread.
#[derive(Default)]
pub struct Decompressor {
    zstd: Zstd,
    zlib: Zlib,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Fills `output`, a block of that logical size, from the stored bytes `input`.
    pub fn decompress(
        &mut self,
        compression: BlockCompression,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CodecError> {
        let size = output.len();
        let done = match compression {
            // "Empty" blocks are zeros, of which nothing is stored.
            BlockCompression::Empty if input.is_empty() => {
                output.fill(0);
                Ok(())
            }
            BlockCompression::Off | BlockCompression::Empty => match input.get(..size) {
                Some(block) => {
                    output.copy_from_slice(block);
                    Ok(())
                }
                None => Err("fewer bytes are stored than the block has"),
            },
            BlockCompression::Lzjb => lzjb::decompress(input, output),
            BlockCompression::Zle => zle::decompress(input, output),
            BlockCompression::Lz4 => lz4(input, output),
            BlockCompression::Gzip(_) => self.gzip(input, output),
            BlockCompression::Zstd => self.zstd(input, output),
        };
        done.map_err(|reason| CodecError::Compressed {
            compression,
            input: input.len(),
            output: size,
            reason,
        })
    }

    fn gzip(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), &'static str> {
        whole(self.zlib.decompress(input, output)?, output)
    }

    fn zstd(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), &'static str> {
        let (length, rest) = length_field(input)?;
        let frame = rest.get(4..).and_then(|rest| rest.get(..length));
        let frame = frame.ok_or("the header tells of more bytes than are stored")?;
        whole(self.zstd.decompress(frame, output)?, output)
    }
}

/// A block that comes out must fill its logical size.
fn whole(filled: usize, output: &[u8]) -> Result<(), &'static str> {
    if filled == output.len() { Ok(()) } else { Err("the block comes out shorter") }
}

/// The big-endian length that begins LZ4 and zstd blocks, and what follows.
fn length_field(input: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let (length, rest) = input.split_first_chunk::<4>().ok_or("it has no header")?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| "too long")?;
    Ok((length, rest))
}

fn lz4(input: &[u8], output: &mut [u8]) -> Result<(), &'static str> {
    let (length, rest) = length_field(input)?;
    let block = rest.get(..length).ok_or("the header tells of more bytes than are stored")?;
    match lz4_flex::block::decompress_into(block, output) {
        Ok(filled) => whole(filled, output),
        Err(_) => Err("it is not an LZ4 block of that size"),
    }
}

#[cfg(feature = "std")]
std::thread_local! {
    static DECOMPRESSOR: core::cell::RefCell<Decompressor> = core::cell::RefCell::default();
}

/// Fills `output`, a block of that logical size, from the stored bytes `input`; with `std` in working
/// memory that the thread keeps.
pub fn decompress(
    compression: BlockCompression,
    input: &[u8],
    output: &mut [u8],
) -> Result<(), CodecError> {
    #[cfg(feature = "std")]
    return DECOMPRESSOR.with_borrow_mut(|kept| kept.decompress(compression, input, output));
    #[cfg(not(feature = "std"))]
    return Decompressor::default().decompress(compression, input, output);
}
