//! A file that is written from front to back in large writes, or at any place.

use std::fs::File;
use std::os::unix::fs::FileExt;

use blk::WriteBehind;
use sha2::{Digest, Sha256};

use super::WriteError;

/// Bytes gathered for one write.
const GATHER: usize = 1 << 20;

/// An output file: what is appended is gathered, and hashed if asked for.
#[derive(Debug)]
pub struct Output {
    file: File,
    format: &'static str,
    gathered: Vec<u8>,
    /// Where the gathered bytes go.
    at: u64,
    digest: Option<Sha256>,
    behind: WriteBehind,
}

impl Output {
    /// Takes a file whose old content goes.
    pub fn new(file: File, format: &'static str) -> Result<Self, WriteError> {
        file.set_len(0).map_err(|source| WriteError::Output { format, offset: 0, source })?;
        Ok(Self {
            file,
            format,
            gathered: Vec::with_capacity(GATHER),
            at: 0,
            digest: None,
            behind: WriteBehind::default(),
        })
    }

    /// The format that was asked for.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Leaves in memory what is written. For formats whose start is known last: the digest needs all of the
    /// file once more.
    pub fn keeping(mut self) -> Self {
        self.behind.keep();
        self
    }

    /// Hashes what is appended from now on.
    pub fn start_digest(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        self.digest = Some(Sha256::new());
        Ok(())
    }

    /// The digest of all that was appended since it was started.
    pub fn take_digest(&mut self) -> Result<Option<[u8; 32]>, WriteError> {
        self.flush()?;
        Ok(self.digest.take().map(|digest| digest.finalize().into()))
    }

    /// Where the next appended byte goes.
    pub fn position(&self) -> u64 {
        self.at + self.gathered.len() as u64
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.gathered.len() + bytes.len() > GATHER {
            self.flush()?;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends zeros up to a multiple of `alignment`, counted from `start`.
    pub fn align_from(&mut self, start: u64, alignment: u64) -> Result<(), WriteError> {
        let position = self.position() - start;
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
        self.file.write_all_at(bytes, offset).map_err(|source| WriteError::Output {
            format: self.format,
            offset,
            source,
        })?;
        self.behind.wrote(&self.file, offset + bytes.len() as u64);
        Ok(())
    }

    /// Fills `bytes` with what was put at `offset`.
    pub fn read_back(&self, bytes: &mut [u8], offset: u64) -> Result<(), WriteError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| WriteError::Output {
            format: self.format,
            offset,
            source,
        })
    }

    /// Makes the file `length` bytes long.
    pub fn set_length(&self, length: u64) -> Result<(), WriteError> {
        self.file.set_len(length).map_err(|source| WriteError::Output {
            format: self.format,
            offset: length,
            source,
        })
    }

    /// Writes what is gathered.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if let Some(digest) = &mut self.digest {
            digest.update(&self.gathered);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.put(&gathered, self.at)?;
        self.at += gathered.len() as u64;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    /// As if so many bytes had been appended.
    #[cfg(test)]
    pub(super) fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }
}
