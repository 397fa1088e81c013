//! The meta object set: a table of objects, most written as they come, some laid out first and
//! filled last because they tell what everything else took.

use blk::WriteAt;

use super::WriteError;
use super::block::{BlockParams, BlockWriter, Reserved, Usage};
use super::indirect::{BlockTree, levels_for};
use super::objset::{self, OBJSET_SIZE, ObjectSpec, TABLE_POINTERS};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::compress::Compression;
use crate::dnode::{
    DNODE_BLOCK_SIZE, DNODE_SIZE, DNODES_PER_BLOCK, INDIRECT_SHIFT, object_type, objset_type,
};
use crate::zap::{self, Entry, ZapObject, ZapOptions};

/// Copies of everything in the MOS.
const COPIES: usize = 3;

/// What an object is, without its blocks.
#[derive(Debug, Default)]
pub(crate) struct MosObject {
    pub object_type: u8,
    pub bonus_type: u8,
    pub bonus: Vec<u8>,
    /// Size of a block in bytes; 0 is the default of 512.
    pub block_size: u32,
}

#[derive(Debug)]
struct Written {
    spec: ObjectSpec,
    levels: u8,
    used: u64,
    pointers: Vec<BlockPointer>,
}

/// An object whose room is allocated and whose content comes later.
#[derive(Debug)]
pub(crate) struct ReservedObject {
    pub object: u64,
    pub spec: MosObject,
    places: Vec<Reserved>,
}

/// The MOS while it is made.
pub(crate) struct Mos<'a, W> {
    pub(crate) out: &'a mut BlockWriter<W>,
    salt: u64,
    objects: Vec<Option<Written>>,
}

impl<'a, W: WriteAt> Mos<'a, W> {
    /// An empty MOS; object 0 does not exist.
    pub(crate) fn new(out: &'a mut BlockWriter<W>, salt: u64) -> Self {
        out.usage = Usage::default();
        Self { out, salt, objects: vec![None] }
    }

    /// A number for an object that is written later.
    pub(crate) fn allocate(&mut self) -> u64 {
        self.objects.push(None);
        self.objects.len() as u64 - 1
    }

    /// Numbers given out so far.
    pub(crate) fn object_count(&self) -> usize {
        self.objects.len() - 1
    }

    fn spec(&self, object: u64, what: MosObject, blocks: usize) -> ObjectSpec {
        // As many block pointers as fit beside the bonus, at most three (`dnode_allocate`).
        let pointers = (1 + (320 - what.bonus.len()) / 128).min(3);
        ObjectSpec {
            object,
            object_type: what.object_type,
            pointers,
            block_size: what.block_size.max(512),
            max_block_id: (blocks as u64).saturating_sub(1),
            bonus_type: what.bonus_type,
            bonus: what.bonus,
            ..ObjectSpec::default()
        }
    }

    fn params(object_type: u8) -> BlockParams {
        BlockParams {
            kind: BlockKind { object_type, level: 0 },
            compression: Compression::Lz4,
            copies: COPIES,
            fill: 1,
        }
    }

    /// Writes an object's blocks; `data` may be empty.
    pub(crate) fn write(
        &mut self,
        object: u64,
        what: MosObject,
        data: &[u8],
    ) -> Result<(), WriteError> {
        let blocks: Vec<_> = data.chunks(what.block_size.max(512) as usize).collect();
        let spec = self.spec(object, what, blocks.len());
        let before = self.out.usage.allocated;
        let levels = levels_for(spec.max_block_id, spec.pointers);
        let mut tree = BlockTree::new(spec.object_type, levels, spec.pointers, COPIES);
        for (id, block) in blocks.into_iter().enumerate() {
            let mut block = block.to_vec();
            block.resize(spec.block_size as usize, 0);
            let pointer = self.out.write(block, &Self::params(spec.object_type))?;
            tree.push(self.out, id as u64, pointer)?;
        }
        let pointers = tree.finish(self.out)?;
        let used = self.out.usage.allocated - before;
        self.set(Written { spec, levels, used, pointers });
        Ok(())
    }

    /// Writes an object whose content is a ZAP.
    pub(crate) fn write_zap(
        &mut self,
        object: u64,
        mut what: MosObject,
        entries: &[Entry<'_>],
    ) -> Result<(), WriteError> {
        // Snapshot names are the one kind of ZAP that is hashed without regard to case.
        let fold_case = what.object_type == object_type::DSL_DS_SNAP_MAP;
        let normflags = if fold_case { zap::NORM_TO_UPPER } else { 0 };
        let zap = self.encode(object, entries, normflags)?;
        what.block_size = zap.block_size;
        self.write(object, what, &zap.data)
    }

    /// A ZAP as this MOS would write it.
    pub(crate) fn encode_zap(
        &self,
        object: u64,
        entries: &[Entry<'_>],
    ) -> Result<ZapObject, WriteError> {
        self.encode(object, entries, 0)
    }

    fn encode(
        &self,
        object: u64,
        entries: &[Entry<'_>],
        normflags: u64,
    ) -> Result<ZapObject, WriteError> {
        let options = ZapOptions { normflags, ..ZapOptions::new(self.salt) };
        zap::encode(entries, &options).map_err(|source| WriteError::Zap { object, source })
    }

    /// A new object whose content is a ZAP.
    pub(crate) fn add_zap(
        &mut self,
        object_type: u8,
        entries: &[Entry<'_>],
    ) -> Result<u64, WriteError> {
        let object = self.allocate();
        self.write_zap(object, MosObject { object_type, ..MosObject::default() }, entries)?;
        Ok(object)
    }

    /// Allocates room for `blocks` uncompressed blocks of an object whose content is not known yet.
    pub(crate) fn reserve(
        &mut self,
        object: u64,
        what: MosObject,
        blocks: usize,
    ) -> Result<ReservedObject, WriteError> {
        let places = (0..blocks)
            .map(|_| self.out.reserve(u64::from(what.block_size), COPIES))
            .collect::<Result<_, _>>()?;
        Ok(ReservedObject { object, spec: what, places })
    }

    /// Writes what room was reserved for.
    pub(crate) fn fill(&mut self, reserved: ReservedObject, data: &[u8]) -> Result<(), WriteError> {
        let ReservedObject { object, spec: what, places } = reserved;
        let spec = self.spec(object, what, places.len());
        let levels = levels_for(spec.max_block_id, spec.pointers);
        if levels > 1 || data.len() != places.len() * spec.block_size as usize {
            return Err(WriteError::Layout { object });
        }
        let mut pointers = vec![BlockPointer::HOLE; spec.pointers];
        let blocks = data.chunks(spec.block_size as usize);
        for ((pointer, place), block) in pointers.iter_mut().zip(&places).zip(blocks) {
            *pointer = self.out.fill(place, block, &Self::params(spec.object_type))?;
        }
        let used = places.iter().map(Reserved::allocated).sum();
        self.set(Written { spec, levels, used, pointers });
        Ok(())
    }

    fn set(&mut self, written: Written) {
        let index = written.spec.object as usize;
        self.objects[index] = Some(written);
    }

    /// Replaces the bonus of an object that was written already, by one of the same length.
    pub(crate) fn set_bonus(&mut self, object: u64, bonus: &[u8]) -> Result<(), WriteError> {
        match &mut self.objects[object as usize] {
            Some(written) if written.spec.bonus.len() == bonus.len() => {
                written.spec.bonus.copy_from_slice(bonus);
                Ok(())
            }
            _ => Err(WriteError::Layout { object }),
        }
    }

    /// Allocates room for the dnodes of `objects` objects and for the object set itself.
    pub(crate) fn reserve_table(&mut self, objects: usize) -> Result<ReservedTable, WriteError> {
        // Object 0 has a slot too.
        let blocks = (objects + 1).div_ceil(DNODES_PER_BLOCK);
        let levels = levels_for(blocks as u64 - 1, TABLE_POINTERS);
        if levels > 2 {
            return Err(WriteError::TooManyObjects);
        }
        let reserve = |out: &mut BlockWriter<W>, size: usize| out.reserve(size as u64, COPIES);
        let dnodes =
            (0..blocks).map(|_| reserve(self.out, DNODE_BLOCK_SIZE)).collect::<Result<_, _>>()?;
        let indirect = match levels {
            1 => None,
            _ => Some(reserve(self.out, 1 << INDIRECT_SHIFT)?),
        };
        let objset = reserve(self.out, OBJSET_SIZE)?;
        Ok(ReservedTable { dnodes, indirect, objset })
    }

    /// Writes the dnodes and the object set into their room. Every object must have been written.
    pub(crate) fn finish(self, table: &ReservedTable) -> Result<BlockPointer, WriteError> {
        let mut data = vec![0; table.dnodes.len() * DNODE_BLOCK_SIZE];
        let mut fills = vec![0; table.dnodes.len()];
        for (number, object) in self.objects.iter().enumerate().skip(1) {
            let Some(written) = object else {
                return Err(WriteError::Layout { object: number as u64 });
            };
            let Written { spec, levels, used, pointers } = written;
            let dnode = spec.dnode(*levels, *used, pointers, None);
            let Some(slot) = data.get_mut(number * DNODE_SIZE..(number + 1) * DNODE_SIZE) else {
                return Err(WriteError::Layout { object: number as u64 });
            };
            slot.copy_from_slice(&dnode.to_bytes());
            fills[number / DNODES_PER_BLOCK] += 1;
        }

        let mut params = Self::params(object_type::DNODE);
        let mut pointers = Vec::new();
        let blocks = data.chunks(DNODE_BLOCK_SIZE);
        for ((place, block), fill) in table.dnodes.iter().zip(blocks).zip(fills) {
            params.fill = fill;
            pointers.push(self.out.fill(place, block, &params)?);
        }
        let max_block_id = pointers.len() as u64 - 1;
        let fill = pointers.iter().map(BlockPointer::fill).sum();
        let mut levels = 1;
        if let Some(place) = &table.indirect {
            let mut block: Vec<u8> = pointers.iter().flat_map(|p| p.to_bytes()).collect();
            block.resize(1 << INDIRECT_SHIFT, 0);
            params.kind.level = 1;
            params.fill = fill;
            pointers = vec![self.out.fill(place, &block, &params)?];
            levels = 2;
        }
        pointers.resize(TABLE_POINTERS, BlockPointer::HOLE);
        let used = table.dnodes.iter().chain(&table.indirect).map(Reserved::allocated).sum();
        let objset = objset::encode(objset_type::META, levels, max_block_id, used, &pointers);
        let params = BlockParams { fill, ..Self::params(object_type::OBJSET) };
        self.out.fill(&table.objset, &objset, &params)
    }
}

/// Room for the MOS's dnodes, the indirect block above them, and the object set block.
#[derive(Debug)]
pub(crate) struct ReservedTable {
    dnodes: Vec<Reserved>,
    indirect: Option<Reserved>,
    objset: Reserved,
}
