//! The disk that is exported: what is free, and what lies behind its end, reads as zeros.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use blk::{RangeSet, ReadAt};
use disk::export::{PIECE, Runs, SECTOR};

/// Bytes that could not be read and are zeros in the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRange {
    /// Where on the disk, in bytes.
    pub range: Range<u64>,
    /// What the disk said.
    pub error: String,
}

/// A disk with its free space.
pub struct Source<'a> {
    disk: &'a dyn ReadAt,
    /// Bytes of the disk itself.
    length: u64,
    used: Option<&'a RangeSet>,
    skip_bad: bool,
    /// By their start.
    bad: Mutex<BTreeMap<u64, BadRange>>,
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
    pub fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
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
    fn read_used(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let all = offset..offset + buf.len() as u64;
        let used: Vec<Range<u64>> = match self.used {
            Some(used) => used.overlapping(all).collect(),
            None => vec![all],
        };
        for part in used {
            let bytes = &mut buf[(part.start - offset) as usize..(part.end - offset) as usize];
            if let Err(error) = self.disk.read_exact_at(bytes, part.start) {
                if !self.skip_bad {
                    return Err(error);
                }
                self.read_sectors(bytes, part.start);
            }
        }
        Ok(())
    }

    /// Reads block by block what could not be read at once.
    fn read_sectors(&self, buf: &mut [u8], offset: u64) {
        const BLOCK: usize = 4096;
        for (index, block) in buf.chunks_mut(BLOCK).enumerate() {
            let at = offset + (index * BLOCK) as u64;
            if let Err(error) = self.disk.read_exact_at(block, at) {
                block.fill(0);
                let range = at..at + block.len() as u64;
                self.add_bad(BadRange { range, error: error.to_string() });
            }
        }
    }

    /// Neighbours with the same error are one: a dead disk is not millions of them.
    fn add_bad(&self, mut new: BadRange) {
        let mut all = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, before)) = all.range(..=new.range.start).next_back() {
            if before.range.end >= new.range.end {
                // It was read before.
                return;
            }
            if before.range.end >= new.range.start && before.error == new.error {
                new.range.start = before.range.start;
            }
        }
        if let Some(behind) = all.get(&new.range.end)
            && behind.error == new.error
        {
            let end = behind.range.end;
            all.remove(&new.range.end);
            new.range.end = end;
        }
        all.insert(new.range.start, new);
    }

    /// What could not be read, in order.
    pub fn bad(&self) -> Vec<BadRange> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
