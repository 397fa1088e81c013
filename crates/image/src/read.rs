//! The disk that is exported: what is free, and what lies behind its end, reads as zeros.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blk::{RangeSet, ReadAt};
use disk::export::{PIECE, Runs, SECTOR};
use thiserror::Error;

use crate::chain;

/// Bytes that could not be read and are zeros in the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRange {
    /// Where on the disk, in bytes.
    pub range: Range<u64>,
    /// The kind of failure, which is the same in all of it.
    pub kind: io::ErrorKind,
    /// What the disk said at its start, with the causes.
    pub error: String,
}

/// The disk failed.
#[derive(Debug, Error)]
#[error("reading the source at offset {offset}")]
pub struct ReadError {
    /// Byte offset of the first bad block on the disk.
    pub offset: u64,
    /// The failure.
    pub source: io::Error,
}

/// A disk with its free space.
pub struct Source<'a> {
    disk: &'a dyn ReadAt,
    /// Bytes of the disk itself.
    length: u64,
    used: Option<&'a RangeSet>,
    skip_bad: bool,
    bad: Mutex<Bad>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("length", &self.length).finish_non_exhaustive()
    }
}

impl<'a> Source<'a> {
    /// A disk of which only `used` counts; all of it if that is `None`. With `skip_bad`, sectors that
    /// cannot be read are zeros.
    pub fn new(
        disk: &'a dyn ReadAt,
        used: Option<&'a RangeSet>,
        skip_bad: bool,
    ) -> io::Result<Self> {
        Ok(Self { disk, length: disk.size()?, used, skip_bad, bad: Mutex::default() })
    }

    /// Bytes of the disk in whole sectors.
    pub fn size(&self) -> u64 {
        self.length.next_multiple_of(SECTOR)
    }

    /// The pieces in which there may be data.
    pub fn runs(&self) -> io::Result<Runs> {
        let mut pieces = RangeSet::new();
        let piece = PIECE as u64;
        let mut add = |run: Range<u64>| {
            pieces.insert(run.start / piece * piece..run.end.next_multiple_of(piece));
        };
        let mut at = 0;
        loop {
            let run = match self.disk.next_data(at) {
                Ok(Some(run)) => run,
                Ok(None) => break,
                // Where an image does not tell its data any more, reading tells what of it is bad.
                Err(_) if self.skip_bad && at < self.length => at..self.length,
                Err(error) => return Err(error),
            };
            if run.end <= at {
                return Err(io::Error::other("next_data went backwards"));
            }
            match self.used {
                Some(used) => used.overlapping(run.clone()).for_each(&mut add),
                None => add(run.clone()),
            }
            at = run.end;
        }
        Ok(pieces.iter().collect())
    }

    /// Fills `buf` from `offset`.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let there = self.length.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (now, behind) = buf.split_at_mut(there);
        behind.fill(0);
        if self.disk.read_exact_at(now, offset).is_err() {
            self.read_used(now, offset)?;
        }
        if let Some(used) = self.used {
            let end = offset + buf.len() as u64;
            for free in used.complement(offset..end).iter() {
                buf[(free.start - offset) as usize..(free.end - offset) as usize].fill(0);
            }
        }
        Ok(())
    }

    /// Reads what is in use of what could not be read at once: free space may well be bad.
    fn read_used(&self, buf: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let all = offset..offset + buf.len() as u64;
        let used: Vec<Range<u64>> = match self.used {
            Some(used) => used.overlapping(all).collect(),
            None => vec![all],
        };
        for part in used {
            let bytes = &mut buf[(part.start - offset) as usize..(part.end - offset) as usize];
            if self.disk.read_exact_at(bytes, part.start).is_err() {
                self.read_blocks(bytes, part.start)?;
            }
        }
        Ok(())
    }

    /// Reads block by block what could not be read at once: the first bad one is told, or all of them
    /// are zeros. Blocks are those of the disk, wherever a read starts.
    fn read_blocks(&self, buf: &mut [u8], offset: u64) -> Result<(), ReadError> {
        const BLOCK: u64 = 4096;
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let length = (BLOCK - at % BLOCK).min(rest.len() as u64);
            let (block, later) = rest.split_at_mut(length as usize);
            if let Err(source) = self.disk.read_exact_at(block, at) {
                if !self.skip_bad {
                    return Err(ReadError { offset: at, source });
                }
                block.fill(0);
                self.known_bad().add(at..at + length, &source);
            }
            at += length;
            rest = later;
        }
        Ok(())
    }

    /// What could not be read, in order.
    pub fn bad(&self) -> Vec<BadRange> {
        self.known_bad().ranges.values().cloned().collect()
    }

    fn known_bad(&self) -> MutexGuard<'_, Bad> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ranges that could not be read: none overlaps another.
#[derive(Debug, Default)]
struct Bad {
    /// By their start.
    ranges: BTreeMap<u64, BadRange>,
    bytes: RangeSet,
}

impl Bad {
    /// Adds what of `range` is not known yet.
    fn add(&mut self, range: Range<u64>, error: &io::Error) {
        for part in self.bytes.complement(range).iter() {
            self.bytes.insert(part.clone());
            let (kind, error) = (error.kind(), chain(error));
            self.join(BadRange { range: part, kind, error });
        }
    }

    /// Neighbours that failed alike are one: a dead disk, or half an image, is not millions of them.
    fn join(&mut self, mut new: BadRange) {
        if let Some(behind) = self.ranges.get(&new.range.end)
            && behind.kind == new.kind
        {
            let end = behind.range.end;
            self.ranges.remove(&new.range.end);
            new.range.end = end;
        }
        if let Some((_, before)) = self.ranges.range_mut(..new.range.start).next_back()
            && before.range.end == new.range.start
            && before.kind == new.kind
        {
            before.range.end = new.range.end;
            return;
        }
        self.ranges.insert(new.range.start, new);
    }
}
