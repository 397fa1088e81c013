//! Dnodes (`dnode_phys_t`) and the object types they carry.
//!
//! Source: OpenZFS `include/sys/dnode.h`, `include/sys/dmu.h`.

use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::prelude::*;

/// Size of a dnode in bytes; large ones take several such slots.
pub(crate) const DNODE_SIZE: usize = 512;
/// Size of a block of dnodes in bytes.
pub(crate) const DNODE_BLOCK_SIZE: usize = 16384;
/// Dnodes in such a block.
pub(crate) const DNODES_PER_BLOCK: usize = DNODE_BLOCK_SIZE / DNODE_SIZE;
/// Bonus bytes of a dnode that has one block pointer.
pub(crate) const BONUS_SIZE: usize = 320;
/// Most slots of a dnode.
pub(crate) const MAX_SLOTS: u32 = DNODES_PER_BLOCK as u32;
/// log₂ of an indirect block's size, 128 KiB.
pub(crate) const INDIRECT_SHIFT: u32 = 17;
/// Block pointers in an indirect block.
pub(crate) const POINTERS_PER_INDIRECT: u64 = (1 << INDIRECT_SHIFT) / BLKPTR_SIZE as u64;

/// Bytes of a dnode before its block pointers.
pub(crate) const CORE_SIZE: usize = 64;

pub(crate) const FLAG_USED_BYTES: u8 = 1 << 0;
pub(crate) const FLAG_USERUSED_ACCOUNTED: u8 = 1 << 1;
pub(crate) const FLAG_SPILL_BLKPTR: u8 = 1 << 2;
pub(crate) const FLAG_USEROBJUSED_ACCOUNTED: u8 = 1 << 3;

/// What object sets are (`dmu_objset_type_t`).
pub(crate) mod objset_type {
    pub(crate) const META: u64 = 1;
    pub(crate) const ZFS: u64 = 2;
    pub(crate) const ZVOL: u64 = 3;
}

/// The objects of a volume (`ZVOL_OBJ`, `ZVOL_ZAP_OBJ`).
pub(crate) mod volume_object {
    pub(crate) const DATA: u64 = 1;
    pub(crate) const PROPERTIES: u64 = 2;
}

/// Object types (`dmu_object_type_t`) that the writer uses.
pub(crate) mod object_type {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const OBJECT_DIRECTORY: u8 = 1;
    pub(crate) const OBJECT_ARRAY: u8 = 2;
    pub(crate) const PACKED_NVLIST: u8 = 3;
    pub(crate) const PACKED_NVLIST_SIZE: u8 = 4;
    pub(crate) const BPOBJ: u8 = 5;
    pub(crate) const BPOBJ_HDR: u8 = 6;
    pub(crate) const SPACE_MAP_HEADER: u8 = 7;
    pub(crate) const SPACE_MAP: u8 = 8;
    pub(crate) const DNODE: u8 = 10;
    pub(crate) const OBJSET: u8 = 11;
    pub(crate) const DSL_DIR: u8 = 12;
    pub(crate) const DSL_DIR_CHILD_MAP: u8 = 13;
    pub(crate) const DSL_DS_SNAP_MAP: u8 = 14;
    pub(crate) const DSL_PROPS: u8 = 15;
    pub(crate) const DSL_DATASET: u8 = 16;
    pub(crate) const PLAIN_FILE_CONTENTS: u8 = 19;
    pub(crate) const DIRECTORY_CONTENTS: u8 = 20;
    pub(crate) const MASTER_NODE: u8 = 21;
    pub(crate) const UNLINKED_SET: u8 = 22;
    pub(crate) const ZVOL: u8 = 23;
    pub(crate) const ZVOL_PROP: u8 = 24;
    pub(crate) const SPA_HISTORY: u8 = 29;
    pub(crate) const SPA_HISTORY_OFFSETS: u8 = 30;
    pub(crate) const POOL_PROPS: u8 = 31;
    pub(crate) const NEXT_CLONES: u8 = 37;
    pub(crate) const USERGROUP_USED: u8 = 39;
    pub(crate) const SA: u8 = 44;
    pub(crate) const SA_MASTER_NODE: u8 = 45;
    pub(crate) const SA_ATTR_REGISTRATION: u8 = 46;
    pub(crate) const SA_ATTR_LAYOUTS: u8 = 47;
    pub(crate) const DEADLIST: u8 = 50;
    pub(crate) const DEADLIST_HDR: u8 = 51;
    pub(crate) const DSL_CLONES: u8 = 52;
    /// `DMU_OTN_ZAP_METADATA`.
    pub(crate) const ZAP_METADATA: u8 = 0x80 | 0x40 | 4;

    /// Whether blocks of this type are metadata at level 0 too (compressed with LZ4, kept in
    /// more copies, accounted by their physical size).
    pub(crate) fn is_metadata(object_type: u8) -> bool {
        !matches!(object_type, NONE | PLAIN_FILE_CONTENTS | ZVOL)
    }

    /// Whether a level-0 pointer's fill count means something, so that it cannot be embedded.
    pub(crate) fn has_fill(object_type: u8) -> bool {
        matches!(object_type, DNODE | OBJSET)
    }
}

/// A dnode before it is laid out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dnode<'a> {
    pub object_type: u8,
    pub bonus_type: u8,
    pub bonus: &'a [u8],
    pub flags: u8,
    pub levels: u8,
    /// Size of a level-0 block in bytes, a multiple of 512.
    pub block_size: u32,
    pub max_block_id: u64,
    /// Bytes allocated for everything below, all copies.
    pub used: u64,
    pub pointers: &'a [BlockPointer],
    pub spill: Option<BlockPointer>,
    /// 0 inherits, 2 is off.
    pub compression: u8,
    /// Slots of 512 bytes beyond the first.
    pub extra_slots: u8,
}

impl Dnode<'_> {
    /// The dnode on disk: 512 bytes for each slot.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; DNODE_SIZE * (1 + usize::from(self.extra_slots))];
        let spill_flag = if self.spill.is_some() { FLAG_SPILL_BLKPTR } else { 0 };
        bytes[0] = self.object_type;
        bytes[1] = INDIRECT_SHIFT as u8;
        bytes[2] = self.levels;
        bytes[3] = self.pointers.len() as u8;
        bytes[4] = self.bonus_type;
        bytes[6] = self.compression;
        bytes[7] = self.flags | FLAG_USED_BYTES | spill_flag;
        bytes[8..10].copy_from_slice(&((self.block_size / 512) as u16).to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.bonus.len() as u16).to_le_bytes());
        bytes[12] = self.extra_slots;
        bytes[16..24].copy_from_slice(&self.max_block_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.used.to_le_bytes());
        let mut at = CORE_SIZE;
        for pointer in self.pointers {
            bytes[at..at + BLKPTR_SIZE].copy_from_slice(&pointer.to_bytes());
            at += BLKPTR_SIZE;
        }
        bytes[at..at + self.bonus.len()].copy_from_slice(self.bonus);
        if let Some(spill) = self.spill {
            let at = bytes.len() - BLKPTR_SIZE;
            bytes[at..].copy_from_slice(&spill.to_bytes());
        }
        bytes
    }
}
