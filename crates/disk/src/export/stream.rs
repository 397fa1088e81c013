//! A raw image into a pipe, front to back.

use std::io::Write;

use super::{ImageWriter, PIECE, Piece, WriteError, Written};

/// Writes the bytes of the disk, zeros as well.
#[derive(Debug)]
pub struct Stream<W> {
    out: W,
    at: u64,
    size: u64,
}

impl<W: Write + Send> Stream<W> {
    /// Starts an image of a disk of `size` bytes.
    pub fn new(out: W, size: u64) -> Self {
        Self { out, at: 0, size }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let fail = |source| WriteError::Output { format: "raw", offset: self.at, source };
        self.out.write_all(bytes).map_err(fail)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn zeros_to(&mut self, end: u64) -> Result<(), WriteError> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        while self.at < end {
            self.write(&ZEROS[..(end - self.at).min(PIECE as u64) as usize])?;
        }
        Ok(())
    }
}

impl<W: Write + Send> ImageWriter for Stream<W> {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.zeros_to(piece.offset)?;
        self.write(piece.inside(self.size))
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        self.zeros_to(self.size)?;
        let fail = |source| WriteError::Output { format: "raw", offset: self.at, source };
        self.out.flush().map_err(fail)?;
        Ok(Written::new(self.size))
    }
}
