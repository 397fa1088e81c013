//! A raw image: the bytes of the disk, zeros left as holes.

use std::fs::File;

use super::{ImageWriter, Output, Piece, WriteError, Written};

/// Writes a raw image.
#[derive(Debug)]
pub struct Raw {
    output: Output,
    size: u64,
}

impl Raw {
    /// Starts an image of a disk of `size` bytes.
    pub fn new(file: File, size: u64) -> Result<Self, WriteError> {
        let output = Output::new(file, "raw")?;
        output.set_length(size)?;
        Ok(Self { output, size })
    }
}

impl ImageWriter for Raw {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        piece.runs(self.size, |offset, bytes| self.output.put(bytes, offset))
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        Ok(Written { length: self.size, sha256: None })
    }
}
