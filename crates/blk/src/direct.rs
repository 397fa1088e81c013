//! Large writes past the page cache.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use thiserror::Error;

/// Bytes that go to the disk together: a disk that has to seek between several files wants many.
const GATHER: usize = 4 << 20;
/// What places, lengths and memory must be multiples of, for every disk and file system we know.
const ALIGNMENT: usize = 4096;
/// Less than this goes through the page cache: the disk need not be waited for.
const LEAST: usize = 64 << 10;

/// A write failed.
#[derive(Debug, Error)]
#[error("cannot write at offset {offset}")]
pub struct WriteFailed {
    /// Where, in bytes.
    pub offset: u64,
    /// Why.
    pub source: io::Error,
}

/// Writes a file that is large and read later, if at all. Writes next to each other are gathered, and their
/// whole blocks go straight to the disk (`O_DIRECT`): the page cache would copy every byte, and hand
/// them to the disk when a good part of the memory waits for it. A file system that does not take such writes
/// gets ordinary ones, and is told to begin with them.
#[derive(Debug)]
pub struct DirectWriter {
    file: File,
    direct: Option<File>,
    /// Room for gathered bytes, which start at a multiple of the alignment.
    room: Vec<u8>,
    aligned: usize,
    /// The offset of the room in the file, a multiple of its size.
    base: u64,
    /// What of the room is gathered.
    start: usize,
    end: usize,
}

impl DirectWriter {
    /// For `file`, whose content stays.
    #[must_use]
    pub fn new(file: File) -> Self {
        let room = vec![0; GATHER + ALIGNMENT];
        let aligned = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        // The same file once more, with or without a name: the flag belongs to what was opened.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let direct = open(path, flags, Mode::empty()).ok().map(File::from);
        Self { file, direct, room, aligned, base: 0, start: 0, end: 0 }
    }

    /// The file. What is gathered is not in it before [`Self::flush`].
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes bytes at an offset, at the latest with [`Self::flush`].
    pub fn write(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<(), WriteFailed> {
        while !bytes.is_empty() {
            if self.end == GATHER || offset != self.base + self.end as u64 {
                self.flush()?;
                self.base = offset - offset % GATHER as u64;
                self.start = (offset - self.base) as usize;
                self.end = self.start;
            }
            let (now, later) = bytes.split_at(bytes.len().min(GATHER - self.end));
            let to = self.aligned + self.end;
            self.room[to..to + now.len()].copy_from_slice(now);
            self.end += now.len();
            (bytes, offset) = (later, offset + now.len() as u64);
        }
        Ok(())
    }

    /// Hands what is gathered to the file.
    pub fn flush(&mut self) -> Result<(), WriteFailed> {
        let (start, end) = (self.start, self.end);
        self.start = end;
        let whole = start.next_multiple_of(ALIGNMENT)..end - end % ALIGNMENT;
        if whole.len() < LEAST {
            return self.ordinary(start, end);
        }
        self.ordinary(start, whole.start)?;
        self.large(whole.start, whole.end)?;
        self.ordinary(whole.end, end)
    }

    fn gathered(&self, start: usize, end: usize) -> (&[u8], u64) {
        (&self.room[self.aligned + start..self.aligned + end], self.base + start as u64)
    }

    fn ordinary(&self, start: usize, end: usize) -> Result<(), WriteFailed> {
        let (bytes, offset) = self.gathered(start, end);
        self.file.write_all_at(bytes, offset).map_err(|source| WriteFailed { offset, source })
    }

    fn large(&mut self, start: usize, end: usize) -> Result<(), WriteFailed> {
        let (bytes, offset) = self.gathered(start, end);
        if let Some(direct) = &self.direct {
            match direct.write_all_at(bytes, offset) {
                Ok(()) => return Ok(()),
                // Blocks of this disk are larger, or only ordinary writes are taken here.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                Err(source) => return Err(WriteFailed { offset, source }),
            }
        }
        self.ordinary(start, end)?;
        // A file system that does not take the advice is slower, not wrong.
        let length = NonZeroU64::new((end - start) as u64);
        let _ = fadvise(&self.file, offset, length, Advice::DontNeed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes of all sizes at all places, next to each other or not, over each other too.
    fn writes(mut writer: DirectWriter) {
        let length = 3 * GATHER;
        let mut expected = vec![0; length];
        let mut at = 0;
        for (turn, (skip, size)) in [
            (0, 512),
            (0, GATHER),
            (7, 5 << 20),
            (4096, 100),
            (0, 65536),
            (0, 65536),
            (1 << 20, 1 << 20),
            (0, 0),
            (3, 1),
        ]
        .into_iter()
        .enumerate()
        {
            at += skip;
            let bytes: Vec<u8> =
                (0..size).map(|index| (index % 251) as u8 ^ (turn as u8 + 1)).collect();
            writer.write(&bytes, at as u64).unwrap();
            expected[at..at + size].copy_from_slice(&bytes);
            at += size;
        }
        for (at, byte) in [(GATHER - 1, 9), (0, 8), (5 << 20, 7)] {
            writer.write(&[byte], at as u64).unwrap();
            expected[at] = byte;
        }
        writer.flush().unwrap();
        let mut found = vec![0; at];
        writer.file().read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected[..at]);
    }

    #[test]
    fn what_is_written_is_there() {
        // Beside the program: the directory for temporary files may be in memory.
        let here = std::env::current_exe().unwrap();
        let file = || tempfile::tempfile_in(here.parent().unwrap()).unwrap();
        writes(DirectWriter::new(file()));
        writes(DirectWriter { direct: None, ..DirectWriter::new(file()) });
    }

    #[test]
    fn who_refuses_gets_ordinary_writes() {
        let file = tempfile::tempfile().unwrap();
        // A pipe's end for reading takes nothing; /dev/full has no room.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = DirectWriter { direct: Some(full), ..DirectWriter::new(file) };
        writer.write(&vec![1; 1 << 20], 4096).unwrap();
        let error = writer.flush().unwrap_err();
        assert_eq!((error.offset, error.source.raw_os_error()), (4096, Some(28)));
    }
}
