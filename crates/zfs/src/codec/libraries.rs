//! The decompressors of libzstd and zlib-rs: the fast ones, which need `std`.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DParameter, FrameFormat};

/// A zstd decompressor.
#[derive(Default)]
pub(super) struct Zstd(Option<zstd::bulk::Decompressor<'static>>);

impl Zstd {
    /// Decompresses the magicless `frame`; how many bytes of `output` it fills.
    pub(super) fn decompress(
        &mut self,
        frame: &[u8],
        output: &mut [u8],
    ) -> Result<usize, &'static str> {
        const FAILED: &str = "zstd could not be set up";
        let zstd = match &mut self.0 {
            Some(zstd) => zstd,
            none => {
                let mut zstd = zstd::bulk::Decompressor::new().map_err(|_| FAILED)?;
                zstd.set_parameter(DParameter::Format(FrameFormat::Magicless))
                    .map_err(|_| FAILED)?;
                none.insert(zstd)
            }
        };
        let filled = zstd.decompress_to_buffer(frame, output);
        filled.map_err(|_| "it is not a zstd frame of that size")
    }
}

/// A decompressor of zlib streams.
#[derive(Default)]
pub(super) struct Zlib(Option<Decompress>);

impl Zlib {
    /// Decompresses the stream that `input` begins with; how many bytes of `output` it fills.
    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, &'static str> {
        let zlib = self.0.get_or_insert_with(|| Decompress::new(true));
        zlib.reset(true);
        match zlib.decompress(input, output, FlushDecompress::Finish) {
            // No more than `output` has room for.
            Ok(Status::StreamEnd) => Ok(zlib.total_out() as usize),
            Ok(_) => Err("the stream does not end with the block"),
            Err(_) => Err("it is not a zlib stream"),
        }
    }
}
