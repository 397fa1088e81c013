//! The file an image lies in.

use std::io;

use blk::ReadAt;
use zerocopy::FromBytes;

use super::{Format, OpenError};

/// A file and what it is read as.
pub(crate) struct Host {
    file: Box<dyn ReadAt>,
    size: u64,
    format: Format,
}

impl Host {
    pub(crate) fn new(file: Box<dyn ReadAt>, format: Format) -> Result<Self, OpenError> {
        let size =
            file.size().map_err(|source| OpenError::Io { format, offset: 0, length: 0, source })?;
        Ok(Self { file, size, format })
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn into_file(self) -> Box<dyn ReadAt> {
        self.file
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), OpenError> {
        let length = buf.len() as u64;
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size);
        let read = if inside {
            self.file.read_exact_at(buf, offset)
        } else {
            let why = format!("the file ends before that, at {}", self.size);
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
        };
        read.map_err(|source| OpenError::Io { format: self.format, offset, length, source })
    }

    /// As [`Host::read`]; what lies behind the end of the file is zeros.
    pub(crate) fn read_padded(&self, buf: &mut [u8], offset: u64) -> Result<(), OpenError> {
        let there = self.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (now, behind) = buf.split_at_mut(there);
        behind.fill(0);
        if now.is_empty() { Ok(()) } else { self.read(now, offset) }
    }

    /// `length` bytes, which must lie inside the file: nothing is allocated for a table that
    /// cannot be there.
    pub(crate) fn bytes(
        &self,
        offset: u64,
        length: u64,
        field: &'static str,
    ) -> Result<Vec<u8>, OpenError> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size);
        if !inside {
            let expected =
                format!("{length} bytes from there do not fit into the file's {}", self.size);
            return Err(self.field(offset, field, offset, expected));
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// A structure at `offset`.
    pub(crate) fn structure<T: FromBytes>(
        &self,
        offset: u64,
        what: &'static str,
    ) -> Result<T, OpenError> {
        let bytes = self.bytes(offset, size_of::<T>() as u64, what)?;
        T::read_from_bytes(&bytes)
            .map_err(|_| self.field(offset, what, bytes.len() as u64, "it has another size".into()))
    }

    pub(crate) fn field(
        &self,
        offset: u64,
        field: &'static str,
        value: u64,
        expected: String,
    ) -> OpenError {
        OpenError::Field { format: self.format, offset, field, value, expected }
    }

    /// An error unless `fine`.
    pub(crate) fn require(
        &self,
        fine: bool,
        offset: u64,
        field: &'static str,
        value: u64,
        expected: &str,
    ) -> Result<(), OpenError> {
        if fine { Ok(()) } else { Err(self.field(offset, field, value, expected.to_owned())) }
    }

    pub(crate) fn unsupported(&self, what: impl Into<String>) -> OpenError {
        OpenError::Unsupported { format: self.format, what: what.into() }
    }

    pub(crate) fn elsewhere(&self, what: impl Into<String>) -> OpenError {
        OpenError::Elsewhere { format: self.format, what: what.into() }
    }

    pub(crate) fn compressed(&self, offset: u64, packed: u64, why: &'static str) -> OpenError {
        OpenError::Compressed { format: self.format, offset, packed, why }
    }
}
