//! Decompression, chosen by the first bytes of a stream; compression as kernel modules have it.

mod lz4;
mod peek;

use std::io::{self, Read, Write};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;

pub use peek::Peek;

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
    /// LZ4 in the legacy format of `lz4 -l` and the Linux kernel.
    Lz4Legacy,
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
            _ if start.starts_with(&lz4::MAGIC) => Some(Self::Lz4Legacy),
            _ => None,
        }
    }

    /// Decompresses one member (stream, frame) of `input` and leaves it behind its end.
    pub fn member<'a, R: Read>(self, input: &'a mut Peek<R>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(input)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(MEMORY_LIMIT, 0)?;
                Box::new(XzDecoder::new_stream(input, stream))
            }
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?.single_frame()),
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
            Self::Lz4Legacy => Box::new(lz4::Decoder::new(input)),
        })
    }

    /// Compresses a kernel module in a way that every kernel and kmod reads, as `make modules_install` does.
    pub fn module(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Xz => {
                let mut options = LzmaOptions::new_preset(6)?;
                options.dict_size(1 << 20);
                let stream =
                    Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32)?;
                let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(bytes, 0),
            Self::Bzip2 | Self::Lz4Legacy => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The decompressed content of `input`, all members of it; `input` itself if it is not compressed.
pub fn decoder<'a, R: Read>(input: &'a mut Peek<R>) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match Format::of(input.peek(MAGIC_LENGTH)?) {
        None => Box::new(input),
        Some(Format::Gzip) => Box::new(MultiGzDecoder::new(input)),
        Some(Format::Xz) => {
            let stream = Stream::new_stream_decoder(MEMORY_LIMIT, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Some(Format::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Some(Format::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Some(Format::Lz4Legacy) => Box::new(lz4::Decoder::new(input)),
    })
}
