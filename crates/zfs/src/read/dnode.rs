//! Dnodes as they are read: what an object is and where its blocks are.
//!
//! Source: OpenZFS `include/sys/dnode.h`.

use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::dnode::{CORE_SIZE, DNODE_SIZE, FLAG_SPILL_BLKPTR, FLAG_USED_BYTES};
use crate::prelude::*;

/// A dnode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnode {
    /// `dmu_object_type_t`.
    pub object_type: u8,
    /// Type of the bonus area.
    pub bonus_type: u8,
    /// Levels of blocks, 1 if its pointers point to data.
    pub levels: u8,
    /// log₂ of the size of an indirect block.
    pub indirect_shift: u8,
    /// Its own checksum property, 0 if inherited.
    pub checksum: u8,
    /// Its own compression property, 0 if inherited.
    pub compression: u8,
    /// Flags.
    pub flags: u8,
    /// Size of a data block in bytes.
    pub block_size: u32,
    /// Number of the last block.
    pub max_block: u64,
    /// Bytes allocated for its blocks, all copies.
    pub used: u64,
    /// Size of the dnode itself in units of 512 bytes.
    pub slots: u8,
    /// The bonus area.
    pub bonus: Box<[u8]>,
    pub(crate) pointers: Box<[BlockPointer]>,
    pub(crate) spill: Option<BlockPointer>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// The word at a byte offset, 0 beyond the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// How many slots of 512 bytes the dnode at the start of `bytes` takes.
pub(crate) fn slots(bytes: &[u8]) -> usize {
    match bytes.first() {
        None | Some(0) => 1,
        Some(_) => usize::from(bytes.get(12).copied().unwrap_or(0)) + 1,
    }
}

impl Dnode {
    /// The dnode at the start of `bytes`, which may go on behind it; `None` if the slot is free.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        if byte(0) == 0 {
            return Ok(None);
        }
        let slots = slots(bytes);
        let bytes = bytes.get(..slots * DNODE_SIZE).ok_or("it reaches out of its block")?;
        let (levels, indirect_shift, count) = (byte(2), byte(1), usize::from(byte(3)));
        if !(1..=16).contains(&levels) || (levels > 1 && !(10..=24).contains(&indirect_shift)) {
            return Err("its levels or the size of its indirect blocks are impossible");
        }
        if !(1..=3).contains(&count) {
            return Err("it has an impossible number of block pointers");
        }
        let (bonus_length, flags) = (usize::from(u16_at(bytes, 10)), byte(7));
        let spills = flags & FLAG_SPILL_BLKPTR != 0;
        let end = bytes.len() - if spills { BLKPTR_SIZE } else { 0 };
        let bonus_at = CORE_SIZE + count * BLKPTR_SIZE;
        let bonus = bytes.get(bonus_at..bonus_at + bonus_length);
        let bonus = bonus.filter(|_| bonus_at + bonus_length <= end);
        let used = u64_at(bytes, 24);
        let block_size = u32::from(u16_at(bytes, 8)) * 512;
        if block_size == 0 {
            return Err("its blocks have size 0");
        }
        Ok(Some(Self {
            object_type: byte(0),
            bonus_type: byte(4),
            levels,
            indirect_shift,
            checksum: byte(5),
            compression: byte(6),
            flags,
            block_size,
            max_block: u64_at(bytes, 16),
            used: if flags & FLAG_USED_BYTES != 0 { used } else { used.saturating_mul(512) },
            slots: slots as u8,
            bonus: bonus.ok_or("its bonus area is too long")?.into(),
            pointers: bytes
                .get(CORE_SIZE..bonus_at)
                .unwrap_or_default()
                .chunks_exact(BLKPTR_SIZE)
                .filter_map(BlockPointer::from_bytes)
                .collect(),
            spill: if spills { bytes.get(end..).and_then(BlockPointer::from_bytes) } else { None },
        }))
    }

    /// log₂ of the block pointers in an indirect block.
    pub(crate) fn pointers_shift(&self) -> u32 {
        u32::from(self.indirect_shift).saturating_sub(7)
    }

    /// The most bytes its blocks can hold.
    pub fn capacity(&self) -> u64 {
        self.max_block.saturating_add(1).saturating_mul(u64::from(self.block_size))
    }
}
