//! Object sets: the table of dnodes and the block that names it.
//!
//! Source: OpenZFS `include/sys/dmu_objset.h`, `module/zfs/dmu_objset.c`.

use blk::WriteAt;

use super::WriteError;
use super::block::{BlockParams, BlockWriter};
use super::history::Content;
use super::indirect::BlockTree;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::compress::Compression;
use crate::dnode::{DNODE_BLOCK_SIZE, DNODE_SIZE, DNODES_PER_BLOCK, Dnode, object_type};

/// Size of `objset_phys_t`.
pub(crate) const OBJSET_SIZE: usize = 4096;
/// Dnode pointers of a dnode table.
pub(crate) const TABLE_POINTERS: usize = 3;
/// Levels of a filesystem's dnode table. OpenZFS gives it all levels it may ever need, because it
/// cannot grow in open context.
const TABLE_LEVELS: u8 = 6;

/// User, object and project accounting are complete.
const OS_FLAGS_ACCOUNTED: u64 = 0b111;

const OS_TYPE_OFFSET: usize = 704;
const OS_FLAGS_OFFSET: usize = 712;
const USERUSED_OFFSET: usize = 1024;

/// An object before its blocks are placed.
#[derive(Debug, Default)]
pub(crate) struct ObjectSpec {
    pub object: u64,
    pub object_type: u8,
    /// Block pointers in the dnode.
    pub pointers: usize,
    pub flags: u8,
    pub block_size: u32,
    pub max_block_id: u64,
    pub bonus_type: u8,
    pub bonus: Vec<u8>,
    pub spill: Option<Vec<u8>>,
    /// User and group to charge.
    pub owner: Option<(u64, u64)>,
    /// Slots of the dnode beyond the first.
    pub extra_slots: u8,
    /// What tells its blocks from others, where histories are written.
    pub content: Option<Content>,
}

impl ObjectSpec {
    /// The dnode, now that everything below is placed.
    pub(crate) fn dnode<'a>(
        &'a self,
        levels: u8,
        used: u64,
        pointers: &'a [BlockPointer],
        spill: Option<BlockPointer>,
    ) -> Dnode<'a> {
        Dnode {
            object_type: self.object_type,
            bonus_type: self.bonus_type,
            bonus: &self.bonus,
            flags: self.flags,
            levels,
            block_size: self.block_size,
            max_block_id: self.max_block_id,
            used,
            pointers,
            spill,
            compression: 0,
            extra_slots: self.extra_slots,
        }
    }
}

/// The dnode table of a filesystem, written while its objects are finished in ascending order.
#[derive(Debug)]
pub(crate) struct DnodeTable {
    tree: BlockTree,
    copies: usize,
    /// The block being filled.
    block: u64,
    count: u64,
    data: Vec<u8>,
    used: u64,
}

impl DnodeTable {
    /// An empty table whose blocks are kept in `copies` copies.
    pub(crate) fn new(copies: usize) -> Self {
        let tree = BlockTree::new(object_type::DNODE, TABLE_LEVELS, TABLE_POINTERS, copies);
        Self { tree, copies, block: 0, count: 0, data: Vec::new(), used: 0 }
    }

    /// Adds a dnode; object numbers ascend.
    pub(crate) fn add<W: WriteAt>(
        &mut self,
        out: &mut BlockWriter<W>,
        object: u64,
        dnode: &Dnode<'_>,
    ) -> Result<(), WriteError> {
        let block = object / DNODES_PER_BLOCK as u64;
        if block != self.block {
            self.flush(out)?;
            self.block = block;
        }
        self.data.resize(DNODE_BLOCK_SIZE, 0);
        let at = (object as usize % DNODES_PER_BLOCK) * DNODE_SIZE;
        let bytes = dnode.to_bytes();
        self.data[at..at + bytes.len()].copy_from_slice(&bytes);
        self.count += 1;
        Ok(())
    }

    fn flush<W: WriteAt>(&mut self, out: &mut BlockWriter<W>) -> Result<(), WriteError> {
        if self.data.is_empty() {
            return Ok(());
        }
        let before = out.usage.allocated;
        let params = BlockParams {
            kind: BlockKind { object_type: object_type::DNODE, level: 0 },
            compression: Compression::Lz4,
            copies: self.copies,
            fill: std::mem::take(&mut self.count),
        };
        let pointer = out.write(std::mem::take(&mut self.data), &params)?;
        self.tree.push(out, self.block, pointer)?;
        self.used += out.usage.allocated - before;
        Ok(())
    }

    /// Writes what is open, then the object set block: of a file system with its three `accounts`, if
    /// they are known.
    pub(crate) fn finish<W: WriteAt>(
        mut self,
        out: &mut BlockWriter<W>,
        os_type: u64,
        accounts: Option<&[Vec<u8>; 3]>,
        copies: usize,
    ) -> Result<BlockPointer, WriteError> {
        self.flush(out)?;
        let before = out.usage.allocated;
        let levels = self.tree.levels();
        let pointers = self.tree.finish(out)?;
        self.used += out.usage.allocated - before;
        let mut objset = encode(os_type, levels, self.block, self.used, &pointers);
        if accounts.is_some() {
            objset[OS_FLAGS_OFFSET..OS_FLAGS_OFFSET + 8]
                .copy_from_slice(&OS_FLAGS_ACCOUNTED.to_le_bytes());
        }
        for (index, dnode) in accounts.into_iter().flatten().enumerate() {
            let at = USERUSED_OFFSET + index * DNODE_SIZE;
            objset[at..at + DNODE_SIZE].copy_from_slice(dnode);
        }
        let params = BlockParams {
            kind: BlockKind { object_type: object_type::OBJSET, level: 0 },
            compression: Compression::Lz4,
            copies,
            fill: pointers.iter().map(BlockPointer::fill).sum(),
        };
        out.write(objset, &params)
    }
}

/// An object set block with its dnode table.
pub(crate) fn encode(
    os_type: u64,
    levels: u8,
    max_block_id: u64,
    used: u64,
    pointers: &[BlockPointer],
) -> Vec<u8> {
    let table = Dnode {
        object_type: object_type::DNODE,
        levels,
        block_size: DNODE_BLOCK_SIZE as u32,
        max_block_id,
        used,
        pointers,
        ..Dnode::default()
    };
    let mut objset = vec![0; OBJSET_SIZE];
    objset[..DNODE_SIZE].copy_from_slice(&table.to_bytes());
    objset[OS_TYPE_OFFSET..OS_TYPE_OFFSET + 8].copy_from_slice(&os_type.to_le_bytes());
    objset
}
