//! Google Cloud's import: `disk.raw` in a tar archive of old GNU format, gzipped.
//!
//! Each piece is a gzip member of its own, so that the deflate bits of the other formats serve here
//! as well; gzip readers take members one after the other as one file (RFC 1952, 2.2).

use std::fs::File;
use std::ops::Range;

use super::tar::{RECORD, gnu_sparse};
use super::{ImageWriter, Output, PIECE, Piece, Runs, WriteError, Written, store, whole_sectors};

/// A member's head: no name, no time, unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Google takes whole GiB only.
const GIB: u64 = 1 << 30;

/// Writes `disk.raw` in a tar.gz.
#[derive(Debug)]
pub struct Gcp {
    output: Output,
    /// What the archive says is stored, from the first not written yet.
    runs: std::vec::IntoIter<Range<u64>>,
    run: Range<u64>,
    /// Bytes of the archive before compression.
    length: u64,
    /// A member with a piece of zeros.
    zeros: Vec<u8>,
    packed: Vec<u8>,
}

impl Gcp {
    /// Starts an image of a disk of `size` bytes, rounded up to whole GiB. Pieces come only from
    /// `runs`; `zeros` is a piece of zeros as deflate.
    pub fn new(file: File, size: u64, runs: Runs, zeros: &[u8]) -> Result<Self, WriteError> {
        whole_sectors("gcp", size)?;
        let real = size.next_multiple_of(GIB).max(GIB);
        let mut output = Output::new(file, "gcp")?;
        output.start_digest()?;
        let head = gnu_sparse("disk.raw", real, &runs);
        let mut zero_member = Vec::new();
        member(&mut zero_member, zeros, crc32fast::hash(&[0; PIECE]), PIECE as u32);
        let mut image = Self {
            output,
            runs: runs.into_iter(),
            run: 0..0,
            length: 0,
            zeros: zero_member,
            packed: Vec::new(),
        };
        image.plain(&head)?;
        image.next_run();
        Ok(image)
    }

    fn next_run(&mut self) {
        self.run = self.runs.next().unwrap_or(u64::MAX..u64::MAX);
    }

    /// A member with bytes as they are.
    fn plain(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (mut stored, mut out) = (Vec::new(), Vec::new());
        store(bytes, &mut stored);
        member(&mut out, &stored, crc32fast::hash(bytes), bytes.len() as u32);
        self.length += bytes.len() as u64;
        self.output.append(&out)
    }

    /// Writes zeros for what did not come before `offset`.
    fn catch_up(&mut self, offset: u64) -> Result<(), WriteError> {
        while self.run.start < offset && self.run.start != u64::MAX {
            self.output.append(&self.zeros)?;
            self.length += PIECE as u64;
            self.advance();
        }
        Ok(())
    }

    fn advance(&mut self) {
        self.run.start += PIECE as u64;
        if self.run.start >= self.run.end {
            self.next_run();
        }
    }
}

fn member(out: &mut Vec<u8>, deflated: &[u8], crc: u32, length: u32) {
    out.extend_from_slice(&HEAD);
    out.extend_from_slice(deflated);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

impl ImageWriter for Gcp {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.catch_up(piece.offset)?;
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        match piece.deflated {
            Some(deflated) => member(&mut packed, deflated, piece.crc, PIECE as u32),
            None => {
                let mut stored = Vec::new();
                store(piece.bytes, &mut stored);
                member(&mut packed, &stored, piece.crc, PIECE as u32);
            }
        }
        self.output.append(&packed)?;
        self.packed = packed;
        self.length += PIECE as u64;
        self.advance();
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        self.catch_up(u64::MAX)?;
        // Two empty records end the archive, which is a multiple of 20 records long.
        let block = 20 * RECORD as u64;
        let end = (self.length + 2 * RECORD as u64).next_multiple_of(block);
        let rest = vec![0; (end - self.length) as usize];
        self.plain(&rest)?;
        let sha256 = self.output.take_digest()?;
        Ok(Written { sha256, ..Written::new(self.output.position()) })
    }
}
