//! The decompressors where there is no `std`: ruzstd and miniz_oxide, in Rust and slower.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use ruzstd::decoding::FrameDecoder;

use crate::prelude::*;

/// No block is larger, so no frame needs a larger window.
const MAX_WINDOW: u64 = 16 << 20;

/// A zstd decompressor.
#[derive(Default)]
pub(super) struct Zstd;

impl Zstd {
    /// Decompresses the magicless `frame`; how many bytes of `output` it fills.
    pub(super) fn decompress(
        &mut self,
        frame: &[u8],
        output: &mut [u8],
    ) -> Result<usize, &'static str> {
        // ruzstd knows no frames without magic (RFC 8878, 3.1.1).
        let framed = [&0xfd2f_b528_u32.to_le_bytes(), frame].concat();
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        let filled = decoder.decode_all(&framed, output);
        filled.map_err(|_| "it is not a zstd frame of that size")
    }
}

/// A decompressor of zlib streams.
#[derive(Default)]
pub(super) struct Zlib(Box<DecompressorOxide>);

impl Zlib {
    /// Decompresses the stream that `input` begins with; how many bytes of `output` it fills.
    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, &'static str> {
        const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
            | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        self.0.init();
        match decompress(&mut self.0, input, output, 0, FLAGS) {
            (TINFLStatus::Done, _, filled) => Ok(filled),
            (TINFLStatus::HasMoreOutput | TINFLStatus::FailedCannotMakeProgress, ..) => {
                Err("the stream does not end with the block")
            }
            _ => Err("it is not a zlib stream"),
        }
    }
}
