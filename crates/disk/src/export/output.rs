//! A file that is written from front to back, or at any place.

use std::fs::File;

use blk::{DirectWriter, WriteFailed};
use sha2::{Digest, Sha256};

use super::{WriteError, Written};

/// An output file: what is appended is hashed if asked for. Nothing is sure to be in it before
/// [`Output::finish`].
#[derive(Debug)]
pub struct Output {
    writer: DirectWriter,
    format: &'static str,
    /// Where the next appended byte goes.
    at: u64,
    digest: Option<Sha256>,
}

impl Output {
    /// Takes a file whose old content goes.
    pub fn new(file: File, format: &'static str) -> Result<Self, WriteError> {
        let output = Self { writer: DirectWriter::new(file), format, at: 0, digest: None };
        output.set_length(0)?;
        Ok(output)
    }

    /// Hashes what is appended from now on.
    pub fn start_digest(&mut self) {
        self.digest = Some(Sha256::new());
    }

    /// The digest of all that was appended since it was started.
    pub fn take_digest(&mut self) -> Option<[u8; 32]> {
        self.digest.take().map(|digest| digest.finalize().into())
    }

    /// Where the next appended byte goes.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.put(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Appends zeros up to a multiple of `alignment`, counted from `start`.
    pub fn align_from(&mut self, start: u64, alignment: u64) -> Result<(), WriteError> {
        let position = self.at - start;
        let zeros = position.next_multiple_of(alignment) - position;
        self.zeros(zeros)
    }

    /// Appends zeros.
    pub fn zeros(&mut self, mut count: u64) -> Result<(), WriteError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while count > 0 {
            let now = count.min(ZEROS.len() as u64);
            self.append(&ZEROS[..now as usize])?;
            count -= now;
        }
        Ok(())
    }

    /// Writes at a place of its own, past what is appended or into what was.
    pub fn put(&mut self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        self.writer.write(bytes, offset).map_err(|error| self.failed(error))
    }

    /// Makes the file `length` bytes long.
    pub fn set_length(&self, length: u64) -> Result<(), WriteError> {
        let set = self.writer.file().set_len(length);
        set.map_err(|source| self.failed(WriteFailed { offset: length, source }))
    }

    /// Has everything be in the file, which is `length` bytes long.
    pub fn finish(mut self, length: u64) -> Result<Written, WriteError> {
        self.writer.flush().map_err(|error| self.failed(error))?;
        self.set_length(length)?;
        Ok(Written::new(length))
    }

    fn failed(&self, WriteFailed { offset, source }: WriteFailed) -> WriteError {
        let format = self.format;
        WriteError::Output { format, offset, source }
    }

    /// As if so many bytes had been appended.
    #[cfg(test)]
    pub(super) fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }
}
