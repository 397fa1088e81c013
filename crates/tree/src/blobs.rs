//! Where the bytes of regular files come from.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::Digest;

/// A store of blobs, read by name. Readers of different blobs may be open at the same time.
pub trait Blobs: Send + Sync {
    /// Opens a blob for reading from its start; an unknown name is an error of kind `NotFound`.
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// Blobs in memory: generated files, and tests.
#[derive(Debug, Default, Clone)]
pub struct MemoryBlobs(HashMap<Digest, Box<[u8]>>);

impl MemoryBlobs {
    /// Adds a blob and tells its name.
    pub fn insert(&mut self, bytes: impl Into<Box<[u8]>>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.0.insert(digest, bytes);
        digest
    }
}

impl Blobs for MemoryBlobs {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.0.get(blob) {
            Some(bytes) => Ok(Box::new(&**bytes)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no blob {blob}"))),
        }
    }
}

/// Two stores read as one, `upper` first.
#[derive(Debug)]
pub struct LayeredBlobs<U, L> {
    /// Asked first.
    pub upper: U,
    /// Asked for what `upper` does not have.
    pub lower: L,
}

impl<U: Blobs, L: Blobs> Blobs for LayeredBlobs<U, L> {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.upper.open(blob) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.lower.open(blob),
            result => result,
        }
    }
}

impl<T: Blobs + ?Sized> Blobs for &T {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        (**self).open(blob)
    }
}

impl<T: Blobs + ?Sized> Blobs for Box<T> {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        (**self).open(blob)
    }
}
