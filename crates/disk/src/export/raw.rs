//! A raw image: the bytes of the disk, zeros left as holes.

use std::fs::File;

use super::verity::Verity;
use super::{ImageWriter, Output, Piece, WriteError, Written};

/// Writes a raw image.
#[derive(Debug)]
pub struct Raw {
    output: Output,
    size: u64,
    verity: Option<Verity>,
}

impl Raw {
    /// Starts an image of a disk of `size` bytes.
    pub fn new(file: File, size: u64) -> Result<Self, WriteError> {
        let output = Output::new(file, "raw")?;
        output.set_length(size)?;
        Ok(Self { output, size, verity: None })
    }

    /// Also computes the fs-verity digest; pieces must bring their hashes.
    #[must_use]
    pub fn with_verity(mut self) -> Self {
        self.verity = Some(Verity::default());
        self
    }
}

impl ImageWriter for Raw {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        if let Some(verity) = &mut self.verity {
            verity.add(piece.offset, piece.leaves_inside(self.size));
        }
        piece.runs(self.size, |offset, bytes| self.output.put(bytes, offset))
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        let Self { size, verity, .. } = *self;
        let verity = verity.map(|verity| verity.finish(size));
        Ok(Written { verity, ..Written::new(size) })
    }
}
