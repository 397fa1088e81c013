//! Compressed units of images: deflate, zlib and zstd, into a buffer of known size.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Windows above 16 MiB are not needed for units of at most 2 MiB.
const WINDOW_LOG_MAX: u32 = 24;

/// Expands deflate (with a zlib header or bare) that must give exactly `unit`; what follows the
/// stream in `packed` is padding.
pub(crate) fn inflate(packed: &[u8], zlib: bool, unit: &mut [u8]) -> Result<(), &'static str> {
    let mut stream = Decompress::new(zlib);
    match stream.decompress(packed, unit, FlushDecompress::Finish) {
        // Some writers do not end the stream when the unit is full.
        Ok(Status::StreamEnd | Status::Ok | Status::BufError)
            if stream.total_out() == unit.len() as u64 =>
        {
            Ok(())
        }
        Ok(_) => Err("end before the unit is full"),
        Err(_) => Err("are not deflate"),
    }
}

/// Expands a zstd frame that must give exactly `unit`; what follows it in `packed` is padding.
pub(crate) fn unzstd(packed: &[u8], unit: &mut [u8]) -> Result<(), &'static str> {
    let mut decoder = Decoder::new().map_err(|_| "cannot be expanded: no memory")?;
    decoder
        .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
        .map_err(|_| "cannot be expanded: no memory")?;
    let (mut input, mut output) = (InBuffer::around(packed), OutBuffer::around(unit));
    loop {
        let before = (input.pos(), output.pos());
        let hint = decoder.run(&mut input, &mut output).map_err(|_| "are not zstd")?;
        if output.pos() == output.capacity() {
            return Ok(());
        }
        if hint == 0 || (input.pos(), output.pos()) == before {
            return Err("end before the unit is full");
        }
    }
}
