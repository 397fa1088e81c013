//! Blobs that are byte ranges of one file: a tar archive itself, or a temporary file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use tree::{Blobs, Digest};

/// Byte ranges of a file by the digest of what is in them.
#[derive(Debug)]
pub(crate) struct FileBlobs {
    pub(crate) file: File,
    /// Offset and length in bytes.
    pub(crate) index: HashMap<Digest, (u64, u64)>,
    /// Size and time of last change when the file was indexed, if others can write to it.
    pub(crate) stamp: Option<Stamp>,
}

/// What changes when a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { size: metadata.len(), mtime: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

impl Blobs for FileBlobs {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let &(offset, length) = self
            .index
            .get(blob)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no blob {blob}")))?;
        if let Some(stamp) = self.stamp
            && stamp != Stamp::of(&self.file)?
        {
            return Err(io::Error::other("the archive changed since it was read"));
        }
        Ok(Box::new(Section { file: &self.file, offset, remaining: length }))
    }
}

/// Reads a range without moving the file's own position.
#[derive(Debug)]
struct Section<'a> {
    file: &'a File,
    offset: u64,
    remaining: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive became shorter"));
        }
        self.offset += read as u64;
        self.remaining -= read as u64;
        Ok(read)
    }
}
