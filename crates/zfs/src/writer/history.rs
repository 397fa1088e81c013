//! What one state of a dataset leaves to the next: the numbers of its objects, the blocks that did
//! not change, and which blocks died.
//!
//! An object goes on if a path names the same kind of inode; it keeps its number, and if its
//! content is the same, its blocks. So an incremental stream between two states holds what changed.

use std::collections::HashMap;
use std::sync::Arc;

use tree::{Digest, File};

use super::block::Usage;
use super::dsl::TXG_CREATE;
use crate::blkptr::BlockPointer;
use crate::sa::Layouts;

/// Transaction group in which the content of state `state` is born, counted from 0 in the whole
/// pool.
pub(crate) fn birth(state: usize) -> u64 {
    TXG_CREATE + 2 * state as u64
}

/// Transaction group of a snapshot of state `state`.
pub(crate) fn snapshot_txg(state: usize) -> u64 {
    birth(state) + 1
}

/// What tells the blocks of an object from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    File(File),
    Zap(Digest),
}

/// The blocks of an object.
#[derive(Debug)]
pub(crate) struct Kept {
    pub content: Content,
    pub levels: u8,
    pub block_size: u32,
    pub max_block_id: u64,
    pub used: u64,
    /// Those in the dnode.
    pub pointers: Vec<BlockPointer>,
    /// All of them.
    pub blocks: Vec<BlockPointer>,
}

/// An inode by its path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub object: u32,
    /// Objects that follow it: its extended-attribute directory and what is in it.
    pub attributes: u32,
    pub slots: u32,
    pub generation: u64,
    /// Kind of inode, as a directory entry has it.
    pub kind: u64,
    /// Size of a file's blocks; 0 for what is none.
    pub block_size: u64,
}

/// A state of a dataset that was written.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub objects: HashMap<u64, Arc<Kept>>,
    /// Blocks that no state shares: dnodes, spill blocks, accounting, the object set.
    pub others: Vec<BlockPointer>,
    pub paths: HashMap<Vec<u8>, Known>,
    pub layouts: Layouts,
    /// The first object number that was never given out.
    pub next: u64,
}

impl State {
    /// All blocks.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &BlockPointer> {
        self.objects.values().flat_map(|kept| &kept.blocks).chain(&self.others)
    }

    /// What all blocks count that are born after `txg`.
    pub(crate) fn usage_since(&self, txg: u64) -> Usage {
        let mut usage = Usage::default();
        self.blocks().filter(|bp| bp.birth() > txg).for_each(|bp| usage += Usage::of(bp));
        usage
    }

    /// The blocks that `next` does not have any more, in an order that depends on them only.
    pub(crate) fn died(&self, next: &Self) -> Vec<BlockPointer> {
        let mut numbers: Vec<u64> = self.objects.keys().copied().collect();
        numbers.sort_unstable();
        let mut died = self.others.clone();
        for number in numbers {
            let Some(kept) = self.objects.get(&number) else { continue };
            let lives = next.objects.get(&number).is_some_and(|other| Arc::ptr_eq(kept, other));
            if !lives {
                died.extend(&kept.blocks);
            }
        }
        died
    }
}
