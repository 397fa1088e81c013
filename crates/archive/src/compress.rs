//! Decompression, chosen by the first bytes of a stream.

use std::io::{self, BufRead, Read};

/// How many bytes [`Format::of`] needs to see.
pub const MAGIC_LENGTH: usize = 6;

/// Memory a decoder may use for its dictionary, in bytes; `xz -9` needs 65 MiB.
const MEMORY_LIMIT: u64 = 256 << 20;

/// A compression format of whole streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Format {
    /// The format of a stream that starts with `start`; `None` if it is none of these.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // Skippable frames may come first (pzstd).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }
}

/// The decompressed content of `input`, all members of it; `input` itself if it is not compressed.
pub fn decoder<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match Format::of(input.fill_buf()?) {
        None => Box::new(input),
        Some(Format::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Some(Format::Xz) => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MEMORY_LIMIT, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Some(Format::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Some(Format::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    })
}
