//! Object sets: the meta object set of a pool, file systems, volumes.
//!
//! Source: OpenZFS `include/sys/dmu_objset.h`.

use alloc::sync::Arc;

use super::dnode::{self, Dnode, u64_at};
use super::object::{Object, Source};
use super::{Blocks, ReadError};
use crate::blkptr::BlockPointer;
use crate::crypt::Keys;
use crate::dnode::{DNODE_SIZE, object_type, objset_type};
use crate::prelude::*;

const ZIL_HEADER_AT: usize = 512;
const TYPE_AT: usize = 512 + 192;
const USER_USED_AT: usize = 1024;
/// Dnodes in a meta dnode's block are counted in these; a block is at most 16 MiB.
const META: u64 = 0;

/// What an object set is (`dmu_objset_type_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjsetKind {
    /// The meta object set.
    Meta,
    /// A file system.
    Filesystem,
    /// A volume.
    Volume,
    /// Something else, by its number.
    Other(u64),
}

/// Where an intent log begins (`zil_header_t` of OpenZFS `include/sys/zil.h`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntentLogHeader {
    /// Transaction group in which an import claimed its blocks to replay them, 0 if none did.
    pub claim_txg: u64,
    /// Sequence number of the last record that was replayed.
    pub replayed: u64,
    /// The first block.
    pub first: BlockPointer,
}

/// An object set.
#[derive(Debug, Clone)]
pub struct Objset<'p> {
    /// What it is.
    pub kind: ObjsetKind,
    /// Which accounting is complete: bit 0 space by owner, bit 1 objects by owner, bit 2 projects.
    pub flags: u64,
    /// Whether writes wait in its intent log.
    pub has_intent_log: bool,
    pub(crate) source: Source<'p>,
    pub(crate) meta: Dnode,
    /// Space used by users, groups and projects, as far as it is accounted.
    pub(crate) accounting: [Option<Dnode>; 3],
    pub(crate) intent_log: IntentLogHeader,
    /// The pointer it was opened by.
    pub(crate) pointer: BlockPointer,
}

impl<'p> Objset<'p> {
    /// The object set that `bp` points to; `name` is for messages.
    pub(crate) fn open(
        blocks: &'p Blocks,
        name: Arc<str>,
        bp: &BlockPointer,
    ) -> Result<Self, ReadError> {
        Self::open_with(blocks, name, bp, None)
    }

    /// The same with the keys of its dataset.
    pub(crate) fn open_with(
        blocks: &'p Blocks,
        name: Arc<str>,
        bp: &BlockPointer,
        keys: Option<Arc<Keys>>,
    ) -> Result<Self, ReadError> {
        let what = || format!("the object set of {name}");
        if bp.is_hole() {
            return Err(ReadError::damaged(what(), "it is a hole"));
        }
        let source = Source { blocks, name: name.clone(), keys };
        let block = source.read(bp)?;
        let dnode_at = |at: usize| {
            let bytes = block.get(at..at + DNODE_SIZE).unwrap_or_default();
            Dnode::parse(bytes).map_err(|problem| ReadError::damaged(what(), problem))
        };
        let meta = dnode_at(0)?.ok_or_else(|| ReadError::damaged(what(), "it has no dnodes"))?;
        let at = |index: usize| dnode_at(USER_USED_AT + index * DNODE_SIZE).ok().flatten();
        let kind = match u64_at(&block, TYPE_AT) {
            objset_type::META => ObjsetKind::Meta,
            objset_type::ZFS => ObjsetKind::Filesystem,
            objset_type::ZVOL => ObjsetKind::Volume,
            other => ObjsetKind::Other(other),
        };
        let first = block.get(ZIL_HEADER_AT + 16..).and_then(BlockPointer::from_bytes);
        let intent_log = IntentLogHeader {
            claim_txg: u64_at(&block, ZIL_HEADER_AT),
            replayed: u64_at(&block, ZIL_HEADER_AT + 8),
            first: first.unwrap_or(BlockPointer::HOLE),
        };
        Ok(Self {
            kind,
            flags: u64_at(&block, TYPE_AT + 8),
            has_intent_log: !intent_log.first.is_hole(),
            accounting: [at(0), at(1), at(2)],
            source,
            meta,
            intent_log,
            pointer: *bp,
        })
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The object whose blocks hold all dnodes.
    pub(crate) fn meta_object(&self) -> Object<'p> {
        Object { source: self.source.clone(), number: META, dnode: self.meta.clone() }
    }

    /// The objects that tell the space of users, groups and projects; their numbers count down
    /// from the highest.
    pub(crate) fn accounting_by_kind(&self) -> [Option<Object<'p>>; 3] {
        let mut number = u64::MAX;
        self.accounting.each_ref().map(|dnode| {
            let source = self.source.clone();
            let object = dnode.clone().map(|dnode| Object { source, number, dnode });
            number -= 1;
            object
        })
    }

    /// Those of them that exist.
    pub(crate) fn accounting_objects(&self) -> impl Iterator<Item = Object<'p>> + use<'p> {
        self.accounting_by_kind().into_iter().flatten()
    }

    /// The object of that number.
    pub fn object(&self, number: u64) -> Result<Object<'p>, ReadError> {
        let not_found =
            || ReadError::NotFound { what: format!("object {number} of {}", self.name()) };
        let size = u64::from(self.meta.block_size);
        let offset = number.checked_mul(DNODE_SIZE as u64).ok_or_else(not_found)?;
        let (block_number, wanted) = (offset / size, (offset % size) as usize);
        if number == 0 || block_number > self.meta.max_block {
            return Err(not_found());
        }
        let block = self.meta_object().block(block_number)?.ok_or_else(not_found)?;
        // Walked from the start, so that the middle of a large dnode is not taken for one.
        let mut at = 0;
        while at < wanted {
            at += dnode::slots(block.get(at..).unwrap_or_default()) * DNODE_SIZE;
        }
        if at != wanted {
            return Err(not_found());
        }
        match Dnode::parse(block.get(at..).unwrap_or_default()) {
            Ok(Some(dnode)) => Ok(Object { source: self.source.clone(), number, dnode }),
            Ok(None) => Err(not_found()),
            Err(problem) => {
                Err(ReadError::damaged(format!("object {number} of {}", self.name()), problem))
            }
        }
    }

    /// The object of that number if it has that type.
    pub(crate) fn object_of_type(
        &self,
        number: u64,
        wanted: &[u8],
    ) -> Result<Object<'p>, ReadError> {
        let object = self.object(number)?;
        if wanted.contains(&object.dnode.object_type) {
            return Ok(object);
        }
        let name = super::object_type::name(object.dnode.object_type);
        Err(object.damaged(format!("it is a {name}")))
    }

    /// All objects, ascending; after an error the iteration goes on behind it.
    pub fn objects(&self) -> impl Iterator<Item = Result<Object<'p>, ReadError>> + use<'_, 'p> {
        let meta = self.meta_object();
        let per_block = u64::from(self.meta.block_size) / DNODE_SIZE as u64;
        meta.pointers().flat_map(move |found| {
            let read = found.and_then(|(number, bp)| Ok((number, meta.data(&bp)?)));
            match read {
                Err(error) => vec![Err(error)],
                Ok((number, block)) => {
                    let objects = self.in_block(number.saturating_mul(per_block), &block);
                    objects.map(|(_, object)| object).collect()
                }
            }
        })
    }

    /// The objects in a block of dnodes that begins with object `first`, and their numbers.
    pub(crate) fn in_block<'b>(
        &'b self,
        first: u64,
        block: &'b [u8],
    ) -> impl Iterator<Item = (u64, Result<Object<'p>, ReadError>)> + use<'b, 'p> {
        let mut at = 0;
        core::iter::from_fn(move || {
            while at < block.len() {
                let bytes = block.get(at..).unwrap_or_default();
                let number = first.saturating_add((at / DNODE_SIZE) as u64);
                at += dnode::slots(bytes) * DNODE_SIZE;
                match Dnode::parse(bytes) {
                    Ok(None) => {}
                    Ok(Some(dnode)) => {
                        let source = self.source.clone();
                        return Some((number, Ok(Object { source, number, dnode })));
                    }
                    Err(problem) => {
                        let what = format!("object {number} of {}", self.name());
                        return Some((number, Err(ReadError::damaged(what, problem))));
                    }
                }
            }
            None
        })
    }
}

/// Types of the bonus areas that hold an inode.
pub(crate) const INODE_BONUS: [u8; 2] = [object_type::SA, super::znode::OLD_ZNODE];
