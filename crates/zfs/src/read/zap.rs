//! ZAPs read block by block, for objects of any size.

use alloc::sync::Arc;

use hashbrown::HashSet;

use super::dnode::u64_at;
use super::{Object, ReadError};
use crate::prelude::*;
use crate::zap::leaf::{Leaf, Shape};
use crate::zap::{NORM_TO_UPPER, OwnedEntry, OwnedValue, ZapError, fat, hash_name, micro};

const FAT_MAGIC: u64 = 0x2_F52A_B2AB;
const MAX_TABLE_SHIFT: u64 = 28;

fn error(object: &Object<'_>) -> impl Fn(ZapError) -> ReadError {
    let what = format!("the ZAP in {}", object.describe());
    move |source| ReadError::Zap { what: what.clone(), source }
}

fn damaged(object: &Object<'_>, block: u64, what: &'static str) -> ReadError {
    error(object)(ZapError::Damaged { block, what })
}

/// The header of a fat ZAP.
struct Header<'o, 'p> {
    object: &'o Object<'p>,
    shape: Shape,
    first_block: Arc<[u8]>,
    /// First block of the pointer table, `None` if it is in the header.
    table_block: Option<u64>,
    table_shift: u64,
    salt: u64,
    normflags: u64,
    flags: u64,
}

impl<'o, 'p> Header<'o, 'p> {
    fn new(object: &'o Object<'p>, block: Arc<[u8]>) -> Result<Self, ReadError> {
        let word = |at: usize| u64_at(&block, 8 * at);
        let size = object.dnode.block_size;
        let shift = size.trailing_zeros();
        if !size.is_power_of_two() || !(9..=24).contains(&shift) || block.len() != size as usize {
            return Err(damaged(object, 0, "its blocks have an impossible size"));
        }
        if word(1) != FAT_MAGIC {
            return Err(damaged(object, 0, "its magic number is wrong"));
        }
        // Keys of integers belong to deduplication and block cloning tables.
        if word(12) & !1 != 0 {
            return Err(error(object)(ZapError::Flags(word(12))));
        }
        let header = Self {
            object,
            shape: Shape::new(shift),
            table_block: (word(3) != 0).then(|| word(2)),
            table_shift: word(4),
            salt: word(10),
            normflags: word(11),
            flags: word(12),
            first_block: block.clone(),
        };
        let embedded = header.table_block.is_none();
        if header.table_shift > MAX_TABLE_SHIFT
            || (embedded && header.table_shift > u64::from(shift) - 4)
        {
            return Err(damaged(object, 0, "its pointer table is too large"));
        }
        Ok(header)
    }

    /// The leaf that entry `index` of the pointer table points to.
    fn pointer(&self, index: u64) -> Result<u64, ReadError> {
        let size = u64::from(self.object.dnode.block_size);
        match self.table_block {
            None => Ok(u64_at(&self.first_block, (size / 2 + 8 * index) as usize)),
            Some(first) => {
                let block = first.saturating_add(8 * index / size);
                let bytes = self.object.block(block)?;
                Ok(bytes.map_or(0, |bytes| u64_at(&bytes, (8 * index % size) as usize)))
            }
        }
    }

    fn with_leaf<T>(
        &self,
        block: u64,
        read: impl FnOnce(&Leaf<'_>) -> Result<T, ZapError>,
    ) -> Result<T, ReadError> {
        let bytes = if block == 0 { None } else { self.object.block(block)? };
        let bytes = bytes.ok_or_else(|| damaged(self.object, block, "it is a hole"))?;
        let leaf = Leaf::new(&bytes, block, self.shape).map_err(error(self.object))?;
        read(&leaf).map_err(error(self.object))
    }
}

enum Zap<'o, 'p> {
    Micro(Arc<[u8]>),
    Fat(Header<'o, 'p>),
}

fn open<'o, 'p>(object: &'o Object<'p>) -> Result<Zap<'o, 'p>, ReadError> {
    let Some(block) = object.block(0)? else {
        return Err(damaged(object, 0, "it is a hole"));
    };
    match u64_at(&block, 0) {
        micro::BLOCK_TYPE => Ok(Zap::Micro(block)),
        fat::BLOCK_TYPE => Header::new(object, block).map(Zap::Fat),
        _ => Err(damaged(object, 0, "not a ZAP")),
    }
}

/// All entries, in the order of their blocks.
pub(crate) fn entries(object: &Object<'_>) -> Result<Vec<OwnedEntry>, ReadError> {
    let mut entries = Vec::new();
    read(object, &mut entries, &mut Err)?;
    Ok(entries)
}

/// The entries that can be read, and the first reason why these are not all.
pub(crate) fn readable_entries(object: &Object<'_>) -> (Vec<OwnedEntry>, Option<ReadError>) {
    let (mut entries, mut first) = (Vec::new(), None);
    let result = read(object, &mut entries, &mut |error| {
        first.get_or_insert(error);
        Ok(())
    });
    (entries, first.or(result.err()))
}

/// Adds all entries; `failed` says whether to go on behind what cannot be read.
fn read(
    object: &Object<'_>,
    entries: &mut Vec<OwnedEntry>,
    failed: &mut dyn FnMut(ReadError) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let header = match open(object)? {
        Zap::Micro(block) => {
            entries.extend(micro::decode(&block));
            return Ok(());
        }
        Zap::Fat(header) => header,
    };
    let mut seen = HashSet::new();
    let mut last = 0;
    let in_a_block = u64::from(object.dnode.block_size) / 8;
    let mut index = 0;
    while index < 1 << header.table_shift {
        let block = match header.pointer(index) {
            Ok(block) => block,
            Err(error) => {
                failed(error)?;
                // The next block of the table.
                index = (index / in_a_block + 1) * in_a_block;
                continue;
            }
        };
        index += 1;
        if block == last || !seen.insert(block) {
            continue;
        }
        last = block;
        if let Err(error) = header.with_leaf(block, |leaf| leaf.entries(entries)) {
            failed(error)?;
        }
    }
    Ok(())
}

/// The value of a name, byte for byte.
pub(crate) fn lookup(object: &Object<'_>, name: &[u8]) -> Result<Option<OwnedValue>, ReadError> {
    let header = match open(object)? {
        Zap::Micro(block) => {
            let mut entries = micro::decode(&block).into_iter();
            return Ok(entries.find(|entry| &*entry.name == name).map(|entry| entry.value));
        }
        Zap::Fat(header) => header,
    };
    let hashable = match header.normflags {
        // Longer hashes are not made here.
        _ if header.flags != 0 => false,
        0 => true,
        NORM_TO_UPPER => name.is_ascii(),
        _ => false,
    };
    if !hashable {
        let mut entries = entries(object)?.into_iter();
        return Ok(entries.find(|entry| &*entry.name == name).map(|entry| entry.value));
    }
    let hash = hash_name(name, header.salt, header.normflags);
    let index = hash.checked_shr(64 - header.table_shift as u32).unwrap_or(0);
    let block = header.pointer(index)?;
    header.with_leaf(block, |leaf| leaf.lookup(hash, name))
}

/// The number of a name.
pub(crate) fn number(object: &Object<'_>, name: &[u8]) -> Result<Option<u64>, ReadError> {
    Ok(match lookup(object, name)? {
        Some(OwnedValue::U64(value)) => Some(value),
        _ => None,
    })
}
