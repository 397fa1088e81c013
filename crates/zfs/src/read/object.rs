//! Objects: numbered blocks below a dnode.

use alloc::sync::Arc;
use core::ops::Range;

use super::block::{Room, describe, fill, is_content, is_encrypted};
use super::{Blocks, Dnode, ReadError};
use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::crypt::Keys;
use crate::dnode::object_type::DNODE;
use crate::prelude::*;

/// What every block of one object set needs to be read.
#[derive(Debug, Clone)]
pub(crate) struct Source<'p> {
    pub blocks: &'p Blocks,
    /// Name of the dataset, for messages.
    pub name: Arc<str>,
    /// What opens its blocks, if it is encrypted and its secret was given.
    pub keys: Option<Arc<Keys>>,
}

impl Source<'_> {
    /// The content of a block.
    pub(crate) fn read(&self, bp: &BlockPointer) -> Result<Arc<[u8]>, ReadError> {
        self.blocks.read(bp, self.keys_of(bp)?)
    }

    /// Fills `piece` with what a block has from byte `from` on, and with zeros.
    fn read_into(&self, bp: &BlockPointer, from: usize, piece: &mut [u8]) -> Result<(), ReadError> {
        if is_content(bp) {
            return self.blocks.read_into(bp, self.keys_of(bp)?, from, piece);
        }
        fill(piece, self.read(bp)?.get(from..).unwrap_or_default());
        Ok(())
    }

    /// What opens a block, if it needs to be opened.
    fn keys_of(&self, bp: &BlockPointer) -> Result<Option<&Keys>, ReadError> {
        let keys = self.keys.as_deref().filter(|_| bp.uses_crypt());
        // Dnodes are only partly encrypted: what is above the bonus areas can be read.
        if keys.is_none() && is_encrypted(bp) && bp.object_type() != DNODE {
            return Err(ReadError::Encrypted { dataset: self.name.to_string() });
        }
        Ok(keys)
    }
}

/// An object of an object set.
#[derive(Debug, Clone)]
pub struct Object<'p> {
    pub(crate) source: Source<'p>,
    /// Its number in the object set.
    pub number: u64,
    /// Its dnode.
    pub dnode: Dnode,
}

impl<'p> Object<'p> {
    /// The object for messages.
    pub fn describe(&self) -> String {
        format!("object {} of {}", self.number, self.source.name)
    }

    pub(crate) fn damaged(&self, problem: impl Into<String>) -> ReadError {
        ReadError::damaged(self.describe(), problem)
    }

    /// The pointers in an indirect block.
    fn indirect(&self, bp: &BlockPointer, level: u8) -> Result<Arc<[u8]>, ReadError> {
        if bp.level() != level {
            let what = describe(bp);
            return Err(self.damaged(format!("{what} is where a block of level {level} should be")));
        }
        self.source.read(bp)
    }

    /// The pointer to data block `block`; a hole where there is none.
    pub(crate) fn pointer(&self, block: u64) -> Result<BlockPointer, ReadError> {
        self.pointer_at(0, block)
    }

    /// The pointer to block `number` of those of a level; a hole where there is none.
    pub(crate) fn pointer_at(&self, lowest: u8, number: u64) -> Result<BlockPointer, ReadError> {
        let (levels, shift) = (self.dnode.levels, self.dnode.pointers_shift());
        let shifted = |number: u64, by: u8| number.checked_shr(u32::from(by) * shift).unwrap_or(0);
        if lowest >= levels || number > shifted(self.dnode.max_block, lowest) {
            return Ok(BlockPointer::HOLE);
        }
        let index = |level: u8| shifted(number, level - lowest);
        let top = usize::try_from(index(levels - 1)).ok();
        let mut bp = top.and_then(|at| self.dnode.pointers.get(at)).copied();
        for level in (lowest + 1..levels).rev() {
            let Some(above) = bp.filter(|bp| !bp.is_hole()) else { break };
            let pointers = self.indirect(&above, level)?;
            let at = (index(level - 1) & ((1 << shift) - 1)) as usize * BLKPTR_SIZE;
            bp = pointers.get(at..).and_then(BlockPointer::from_bytes);
        }
        Ok(bp.unwrap_or(BlockPointer::HOLE))
    }

    /// Where the copies of data block `block` are: number of the top-level vdev and byte offset in
    /// its allocatable area.
    pub fn places(&self, block: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        let bp = self.pointer(block)?;
        Ok(bp.copies(is_encrypted(&bp)).map(|dva| (dva.vdev(), dva.offset())).collect())
    }

    /// Data block `block`, `None` if it is a hole.
    pub fn block(&self, block: u64) -> Result<Option<Arc<[u8]>>, ReadError> {
        let bp = self.pointer(block)?;
        if bp.is_hole() {
            return Ok(None);
        }
        self.data(&bp).map(Some)
    }

    /// What a pointer of level 0 points to.
    pub(crate) fn data(&self, bp: &BlockPointer) -> Result<Arc<[u8]>, ReadError> {
        self.check_level(bp)?;
        self.source.read(bp)
    }

    fn check_level(&self, bp: &BlockPointer) -> Result<(), ReadError> {
        match bp.level() {
            0 => Ok(()),
            _ => Err(self.damaged(format!("{} is where data should be", describe(bp)))),
        }
    }

    /// Fills `buffer` from `offset`; holes and what is behind the last block are zeros.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let size = u64::from(self.dnode.block_size);
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let into = (at % size) as usize;
            let length = rest.len().min(size as usize - into);
            let (piece, after) = rest.split_at_mut(length);
            let bp = self.pointer(at / size)?;
            if bp.is_hole() {
                piece.fill(0);
            } else {
                self.check_level(&bp)?;
                self.source.read_into(&bp, into, piece)?;
            }
            at = at.saturating_add(length as u64);
            rest = after;
        }
        Ok(())
    }

    /// The first `length` bytes, which must not be more than `limit`.
    pub(crate) fn read_start(&self, length: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
        if length > limit || length > self.dnode.capacity() {
            return Err(self.damaged(format!("{length} bytes are more than it can have")));
        }
        let mut bytes = vec![0; length as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// All pointers of level 0 that are not holes, with the numbers of their blocks, ascending.
    /// After an error the iteration goes on behind what could not be read.
    pub(crate) fn pointers(&self) -> Pointers<'p> {
        let mut stack = Vec::new();
        let level = self.dnode.levels - 1;
        for (at, bp) in self.dnode.pointers.iter().enumerate().rev() {
            stack.push((level, at as u64, *bp));
        }
        Pointers { left: self.source.blocks.room(), object: self.clone(), stack }
    }

    /// What is wrong if there are more blocks than [`Blocks::most_bytes`].
    pub(crate) fn has_too_many_blocks(&self) -> ReadError {
        self.damaged("it has more blocks than there is room for: its pointers are wrong")
    }

    /// The runs of bytes below `size` that are not holes, ascending and not touching. The first error
    /// is the last item.
    pub fn data_runs(&self, size: u64) -> DataRuns<'p> {
        let length = u64::from(self.dnode.block_size);
        DataRuns { pointers: Some(self.pointers()), length, size, run: None }
    }
}

/// Iterator of [`Object::data_runs`].
#[derive(Debug)]
pub struct DataRuns<'p> {
    /// None at the end.
    pointers: Option<Pointers<'p>>,
    /// Of a block.
    length: u64,
    size: u64,
    /// What the next block may touch.
    run: Option<Range<u64>>,
}

impl Iterator for DataRuns<'_> {
    type Item = Result<Range<u64>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(found) = self.pointers.as_mut()?.next() {
            let block = match found {
                Ok((block, _)) => block,
                Err(error) => {
                    (self.pointers, self.run) = (None, None);
                    return Some(Err(error));
                }
            };
            let start = block.saturating_mul(self.length);
            let end = start.saturating_add(self.length).min(self.size);
            if start >= self.size {
                break;
            }
            match &mut self.run {
                Some(run) if run.end == start => run.end = end,
                run => {
                    if let Some(done) = run.replace(start..end) {
                        return Some(Ok(done));
                    }
                }
            }
        }
        self.pointers = None;
        self.run.take().map(Ok)
    }
}

/// Iterator of [`Object::pointers`].
#[derive(Debug)]
pub(crate) struct Pointers<'p> {
    object: Object<'p>,
    /// For its indirect blocks.
    left: Room,
    /// Level, number within the level, pointer.
    stack: Vec<(u8, u64, BlockPointer)>,
}

impl Iterator for Pointers<'_> {
    type Item = Result<(u64, BlockPointer), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let dnode = &self.object.dnode;
        while let Some((level, number, bp)) = self.stack.pop() {
            if bp.is_hole() {
                continue;
            }
            if level == 0 {
                if number > dnode.max_block {
                    continue;
                }
                return Some(Ok((number, bp)));
            }
            match self.object.indirect(&bp, level) {
                Err(error) => return Some(Err(error)),
                Ok(block) => {
                    if !self.left.take(&bp) {
                        self.stack.clear();
                        return Some(Err(self.object.has_too_many_blocks()));
                    }
                    let Some(first) = number.checked_mul(1 << dnode.pointers_shift()) else {
                        continue;
                    };
                    let below =
                        block.chunks_exact(BLKPTR_SIZE).filter_map(BlockPointer::from_bytes);
                    let below: Vec<_> = (first..).zip(below).collect();
                    let below = below.into_iter().rev().filter(|(_, bp)| !bp.is_hole());
                    self.stack.extend(below.map(|(number, bp)| (level - 1, number, bp)));
                }
            }
        }
        None
    }
}
