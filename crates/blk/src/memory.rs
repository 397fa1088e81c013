//! A fixed-size run of bytes in memory, for small artefacts and tests.

use std::io;
use std::sync::{PoisonError, RwLock};

use crate::{ReadAt, WriteAt, in_bounds};

/// Bytes in memory behind a lock.
#[derive(Debug, Default)]
pub struct Memory(RwLock<Vec<u8>>);

impl Memory {
    /// `size` zero bytes.
    pub fn zeroed(size: usize) -> Self {
        Self(RwLock::new(vec![0; size]))
    }

    /// The bytes themselves.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Self {
        Self(RwLock::new(bytes))
    }
}

impl ReadAt for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        in_bounds(offset, buf.len(), bytes.len() as u64, io::ErrorKind::UnexpectedEof)?;
        let start = offset as usize;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        in_bounds(offset, buf.len(), bytes.len() as u64, io::ErrorKind::WriteZero)?;
        let start = offset as usize;
        bytes[start..start + buf.len()].copy_from_slice(buf);
        Ok(())
    }
}
