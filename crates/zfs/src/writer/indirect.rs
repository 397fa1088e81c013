//! The block tree of one object: level-0 pointers in, dnode pointers out.

use blk::WriteAt;

use super::WriteError;
use super::block::{BlockParams, BlockWriter};
use crate::blkptr::{BLKPTR_SIZE, BlockKind, BlockPointer};
use crate::compress::Compression;
use crate::dnode::{INDIRECT_SHIFT, POINTERS_PER_INDIRECT};

/// Builds indirect blocks while level-0 pointers arrive in ascending order; holds one indirect
/// block per level, whatever the size of the object.
#[derive(Debug)]
pub(crate) struct BlockTree {
    object_type: u8,
    copies: usize,
    roots: Vec<BlockPointer>,
    /// Indirect blocks being filled, level 1 first.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    /// Which indirect block of its level this is.
    id: u64,
    fill: u64,
    data: Vec<u8>,
}

/// Levels that an object needs so that `pointers` in its dnode reach block `max_block_id`.
pub(crate) fn levels_for(max_block_id: u64, pointers: usize) -> u8 {
    let mut levels = 1;
    let mut reach = pointers as u64;
    while reach <= max_block_id {
        reach = reach.saturating_mul(POINTERS_PER_INDIRECT);
        levels += 1;
    }
    levels
}

impl BlockTree {
    /// A tree with `levels` levels under `pointers` dnode pointers; its indirect blocks are stored
    /// in `copies` copies.
    pub(crate) fn new(object_type: u8, levels: u8, pointers: usize, copies: usize) -> Self {
        let open = (1..levels).map(|_| Open { id: 0, fill: 0, data: Vec::new() }).collect();
        Self { object_type, copies, roots: vec![BlockPointer::HOLE; pointers], open }
    }

    /// Number of levels, 1 without indirect blocks.
    pub(crate) fn levels(&self) -> u8 {
        self.open.len() as u8 + 1
    }

    /// Adds the pointer of block `id`; ids ascend, holes may be left out.
    pub(crate) fn push<W: WriteAt>(
        &mut self,
        out: &mut BlockWriter<W>,
        id: u64,
        pointer: BlockPointer,
    ) -> Result<(), WriteError> {
        self.push_at(out, 0, id, pointer)
    }

    fn push_at<W: WriteAt>(
        &mut self,
        out: &mut BlockWriter<W>,
        level: usize,
        id: u64,
        pointer: BlockPointer,
    ) -> Result<(), WriteError> {
        if pointer.is_hole() {
            return Ok(());
        }
        let Some(open) = self.open.get(level) else {
            self.roots[id as usize] = pointer;
            return Ok(());
        };
        let parent = id / POINTERS_PER_INDIRECT;
        if open.id != parent {
            self.close(out, level)?;
            self.open[level].id = parent;
        }
        let open = &mut self.open[level];
        open.data.resize(1 << INDIRECT_SHIFT, 0);
        let at = (id % POINTERS_PER_INDIRECT) as usize * BLKPTR_SIZE;
        open.data[at..at + BLKPTR_SIZE].copy_from_slice(&pointer.to_bytes());
        open.fill += pointer.fill();
        Ok(())
    }

    /// Writes the open indirect block above `level` and hands its pointer upwards.
    fn close<W: WriteAt>(
        &mut self,
        out: &mut BlockWriter<W>,
        level: usize,
    ) -> Result<(), WriteError> {
        let open = &mut self.open[level];
        if open.data.is_empty() {
            return Ok(());
        }
        let params = BlockParams {
            kind: BlockKind { object_type: self.object_type, level: level as u8 + 1 },
            compression: Compression::Lz4,
            copies: self.copies,
            fill: std::mem::take(&mut open.fill),
        };
        let id = open.id;
        let pointer = out.write(std::mem::take(&mut open.data), &params)?;
        self.push_at(out, level + 1, id, pointer)
    }

    /// Writes what is open and gives the pointers for the dnode.
    pub(crate) fn finish<W: WriteAt>(
        mut self,
        out: &mut BlockWriter<W>,
    ) -> Result<Vec<BlockPointer>, WriteError> {
        for level in 0..self.open.len() {
            self.close(out, level)?;
        }
        Ok(self.roots)
    }
}
