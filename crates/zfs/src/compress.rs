//! Compression of blocks, in the frames that OpenZFS puts around each algorithm.
//!
//! Source: OpenZFS `module/zfs/lz4_zfs.c` (a 4-byte big-endian length before the LZ4 block),
//! `module/zstd/zfs_zstd.c` (8-byte header before a magicless zstd frame without content size),
//! `module/zfs/zio_compress.c` (a block must shrink by an eighth, zero blocks become holes).

use std::fmt;
use std::str::FromStr;

use crate::property;

/// Version that OpenZFS writes into zstd headers: its bundled zstd 1.4.5.
const ZSTD_VERSION: u32 = 10405;

/// How file data is compressed. Metadata is always LZ4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Stored as it is; blocks of zeros are written as well.
    Off,
    /// LZ4.
    #[default]
    Lz4,
    /// zstd at level 1 to 19.
    Zstd(u8),
}

impl Compression {
    /// The number in a block pointer (`enum zio_compress`).
    pub(crate) fn on_disk(self) -> u8 {
        match self {
            Self::Off => 2,
            Self::Lz4 => 15,
            Self::Zstd(_) => 16,
        }
    }
}

/// No compression that the writer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compression is off, on, lz4, zstd or zstd-1 to zstd-19")]
pub struct UnknownCompression;

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(value: &str) -> Result<Self, UnknownCompression> {
        property::compression(value).map(|(method, _)| method).ok_or(UnknownCompression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd-{level}"),
        }
    }
}

/// A compressor with its working memory, one for each thread.
#[derive(Default)]
pub(crate) struct Compressor {
    output: Vec<u8>,
    zstd: Option<(u8, zstd::bulk::Compressor<'static>)>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// The compressed form of `data`, or `None` when it does not save at least an eighth.
    pub(crate) fn compress(
        &mut self,
        data: &[u8],
        compression: Compression,
    ) -> std::io::Result<Option<&[u8]>> {
        let limit = data.len() - data.len() / 8;
        let length = match compression {
            Compression::Off => return Ok(None),
            Compression::Lz4 => self.lz4(data, limit),
            Compression::Zstd(level) => self.zstd(data, limit, level)?,
        };
        Ok(length.filter(|&length| length <= limit).map(|length| &self.output[..length]))
    }

    fn lz4(&mut self, data: &[u8], limit: usize) -> Option<usize> {
        let room = 4 + lz4_flex::block::get_maximum_output_size(data.len());
        if self.output.len() < room {
            self.output.resize(room, 0);
        }
        let length = lz4_flex::block::compress_into(data, &mut self.output[4..]).ok()?;
        if length + 4 > limit {
            return None;
        }
        self.output[..4].copy_from_slice(&(length as u32).to_be_bytes());
        Some(length + 4)
    }

    fn zstd(&mut self, data: &[u8], limit: usize, level: u8) -> std::io::Result<Option<usize>> {
        const HEADER: usize = 8;
        if limit <= HEADER {
            return Ok(None);
        }
        if self.output.len() < limit {
            self.output.resize(limit, 0);
        }
        if self.zstd.as_ref().is_none_or(|(have, _)| *have != level) {
            let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
            compressor.set_parameter(zstd::zstd_safe::CParameter::Format(
                zstd::zstd_safe::FrameFormat::Magicless,
            ))?;
            compressor.include_contentsize(false)?;
            compressor.include_checksum(false)?;
            self.zstd = Some((level, compressor));
        }
        let Some((_, compressor)) = &mut self.zstd else { return Ok(None) };
        // An output buffer of the limit makes zstd stop as soon as it cannot win.
        let Ok(length) = compressor.compress_to_buffer(data, &mut self.output[HEADER..limit])
        else {
            return Ok(None);
        };
        self.output[..4].copy_from_slice(&(length as u32).to_be_bytes());
        let version_and_level = u32::from(level) << 24 | ZSTD_VERSION;
        self.output[4..HEADER].copy_from_slice(&version_and_level.to_be_bytes());
        Ok(Some(HEADER + length))
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    let (words, rest) = data.as_chunks::<64>();
    words.iter().all(|word| word == &[0; 64]) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_decode_with_the_reference_libraries() {
        let data: Vec<u8> = (0..131_072u32).map(|i| (i / 97) as u8).collect();
        let mut compressor = Compressor::default();
        let lz4 = compressor.compress(&data, Compression::Lz4).unwrap().unwrap().to_vec();
        let length = u32::from_be_bytes(lz4[..4].try_into().unwrap()) as usize;
        assert_eq!(length, lz4.len() - 4);
        assert_eq!(lz4_flex::block::decompress(&lz4[4..], data.len()).unwrap(), data);

        let framed = compressor.compress(&data, Compression::Zstd(9)).unwrap().unwrap().to_vec();
        assert_eq!(framed[4..8], [9, 0, 0x28, 0xa5]);
        let mut frame = 0xfd2f_b528u32.to_le_bytes().to_vec();
        frame.extend_from_slice(&framed[8..]);
        assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), data);
    }

    #[test]
    fn what_does_not_shrink_is_refused() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..65536)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let mut compressor = Compressor::default();
        assert!(compressor.compress(&noise, Compression::Lz4).unwrap().is_none());
        assert!(compressor.compress(&noise, Compression::Zstd(3)).unwrap().is_none());
        assert!(is_zero(&[0; 1000]) && !is_zero(&[&[0; 999][..], &[1]].concat()));
    }
}
