//! Fat ZAPs: block 0 is a header with a table from the first bits of a hash to a leaf block; a
//! larger table has blocks of its own.

use super::leaf::{self, Leaf, Shape};
use super::{Hashed, OwnedEntry, OwnedValue, ZapError, ZapObject, ZapOptions, hash_name};
use crate::prelude::*;

/// `ZBT_HEADER`.
pub const BLOCK_TYPE: u64 = (1 << 63) + 1;
const MAGIC: u64 = 0x2_F52A_B2AB;

/// `fzap_default_block_shift`.
const BLOCK_SHIFT: u32 = 14;
const BLOCK: usize = 1 << BLOCK_SHIFT;
const SHAPE: Shape = Shape::new(BLOCK_SHIFT);

/// The table fills the second half of the header while it has at most 2^this pointers.
const fn embedded_shift(block_shift: u32) -> u32 {
    block_shift - 4
}

/// Longest hash prefix we give a leaf: 2^20 leaves hold 10^8 names, and the table stays at 8 MiB
/// even if names were chosen to collide.
const MAX_PREFIX: u32 = 20;

/// A leaf to be: the entries whose hashes begin with the bits of `prefix`.
struct Plan<'a> {
    entries: &'a [Hashed<'a>],
    prefix: u64,
    prefix_len: u32,
}

/// Splits until every part fits a leaf. The kernel splits a leaf when the next entry does not fit,
/// which leads to the same leaves in whatever order entries come.
fn split<'a>(plan: Plan<'a>, salt: u64, leaves: &mut Vec<Plan<'a>>) -> Result<(), ZapError> {
    let Plan { entries, prefix, prefix_len } = plan;
    let mut chunks = 0;
    let fits = entries.iter().all(|entry| {
        chunks += leaf::chunks_of(entry);
        chunks <= SHAPE.chunks()
    });
    if fits {
        leaves.push(plan);
        return Ok(());
    }
    if prefix_len == MAX_PREFIX {
        return Err(ZapError::Collisions { salt });
    }
    let bit = 1 << (63 - prefix_len);
    let (zeros, ones) = entries.split_at(entries.partition_point(|entry| entry.hash & bit == 0));
    let (prefix, prefix_len) = (prefix << 1, prefix_len + 1);
    split(Plan { entries: zeros, prefix, prefix_len }, salt, leaves)?;
    split(Plan { entries: ones, prefix: prefix | 1, prefix_len }, salt, leaves)
}

/// Writes a fat ZAP of entries sorted by hash: header, leaves in the order of their prefixes, then
/// the pointer table if it is too long for the header.
pub fn encode(entries: &[Hashed<'_>], options: &ZapOptions) -> Result<ZapObject, ZapError> {
    let mut leaves = Vec::new();
    split(Plan { entries, prefix: 0, prefix_len: 0 }, options.salt, &mut leaves)?;
    let longest = leaves.iter().map(|leaf| leaf.prefix_len).max().unwrap_or(0);
    let shift = longest.max(embedded_shift(BLOCK_SHIFT));
    let external = shift > embedded_shift(BLOCK_SHIFT);
    let table_block = 1 + leaves.len();
    let table_blocks = if external { (8 << shift) / BLOCK } else { 0 };
    let blocks = table_block + table_blocks;

    let mut data = vec![0; blocks * BLOCK];
    let table_at = if external { table_block * BLOCK } else { BLOCK / 2 };
    let (rest, mut table) = data.split_at_mut(table_at);
    if !external {
        table = &mut table[..BLOCK / 2];
    }
    let mut pointers = table.as_chunks_mut::<8>().0.iter_mut();
    for (block, leaf) in (1_u64..).zip(&leaves) {
        let count = 1 << (shift - leaf.prefix_len);
        pointers.by_ref().take(count).for_each(|pointer| *pointer = block.to_le_bytes());
    }

    let header = [
        BLOCK_TYPE,
        MAGIC,
        if external { table_block as u64 } else { 0 },
        table_blocks as u64,
        u64::from(shift),
        0, // zt_nextblk: the table is not being moved
        0, // zt_blks_copied
        blocks as u64,
        leaves.len() as u64,
        entries.len() as u64,
        options.salt,
        options.normflags,
        0, // zap_flags
    ];
    for (word, value) in rest.as_chunks_mut::<8>().0.iter_mut().zip(header) {
        *word = value.to_le_bytes();
    }
    for (block, leaf) in data.chunks_exact_mut(BLOCK).skip(1).zip(&leaves) {
        let Plan { entries, prefix, prefix_len } = *leaf;
        leaf::encode(entries, prefix, prefix_len, options.normflags != 0, SHAPE, block);
    }
    Ok(ZapObject { block_size: BLOCK as u32, data })
}

/// A fat ZAP to be read.
pub struct Fat<'a> {
    data: &'a [u8],
    block_shift: u32,
    table: &'a [[u8; 8]],
    table_shift: u32,
    salt: u64,
    normflags: u64,
}

fn damaged(block: u64, what: &'static str) -> ZapError {
    ZapError::Damaged { block, what }
}

impl<'a> Fat<'a> {
    /// Checks the header and finds the pointer table.
    pub fn new(data: &'a [u8], block_size: u32) -> Result<Self, ZapError> {
        let block_shift = block_size.trailing_zeros();
        if !block_size.is_power_of_two() || !(9..=20).contains(&block_shift) {
            return Err(damaged(0, "a fat ZAP with blocks of an impossible size"));
        }
        let header = data.get(..1 << block_shift).ok_or(damaged(0, "it is cut off"))?;
        let words = header.as_chunks::<8>().0;
        let word = |at: usize| u64::from_le_bytes(words[at]);
        let (table_block, table_blocks, shift) = (word(2), word(3), word(4));
        let (salt, normflags, flags) = (word(10), word(11), word(12));
        if word(1) != MAGIC {
            return Err(damaged(0, "its magic number is wrong"));
        }
        if flags != 0 {
            return Err(ZapError::Flags(flags));
        }
        let table_shift =
            u32::try_from(shift).ok().filter(|shift| *shift <= super::hash::HASH_BITS);
        let table_shift = table_shift.ok_or(damaged(0, "its pointer table is too large"))?;
        let table = if table_blocks == 0 {
            &header[header.len() / 2..]
        } else {
            let start = usize::try_from(table_block).ok();
            let start = start.and_then(|block| block.checked_mul(1 << block_shift));
            start.and_then(|start| data.get(start..)).unwrap_or_default()
        };
        let table = table.as_chunks().0.get(..1 << table_shift);
        let table = table.ok_or(damaged(table_block, "its pointer table is cut off"))?;
        Ok(Self { data, block_shift, table, table_shift, salt, normflags })
    }

    fn leaf(&self, block: u64) -> Result<Leaf<'a>, ZapError> {
        let start =
            usize::try_from(block).ok().and_then(|block| block.checked_mul(1 << self.block_shift));
        let rest = start.filter(|&start| start > 0).and_then(|start| self.data.get(start..));
        let bytes = rest.and_then(|rest| rest.get(..1 << self.block_shift));
        let bytes = bytes.ok_or(damaged(block, "it lies outside the object"))?;
        Leaf::new(bytes, block, Shape::new(self.block_shift))
    }

    /// All entries, leaf by leaf.
    pub fn entries(&self) -> Result<Vec<OwnedEntry>, ZapError> {
        let mut entries = Vec::new();
        let mut seen = vec![false; self.data.len() >> self.block_shift];
        for pointer in self.table {
            let block = u64::from_le_bytes(*pointer);
            let seen = usize::try_from(block).ok().and_then(|block| seen.get_mut(block));
            if seen.is_some_and(|seen| core::mem::replace(seen, true)) {
                continue;
            }
            self.leaf(block)?.entries(&mut entries)?;
        }
        Ok(entries)
    }

    /// The value of a name, byte for byte. Where names hash by a form we cannot make (Unicode
    /// normalisation), all entries are compared.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<OwnedValue>, ZapError> {
        let hashable = match self.normflags {
            0 => true,
            super::NORM_TO_UPPER => name.is_ascii(),
            _ => false,
        };
        if !hashable {
            let mut entries = self.entries()?.into_iter();
            return Ok(entries.find(|entry| &*entry.name == name).map(|entry| entry.value));
        }
        let hash = hash_name(name, self.salt, self.normflags);
        let index = hash.checked_shr(64 - self.table_shift).unwrap_or(0) as usize;
        self.leaf(u64::from_le_bytes(self.table[index]))?.lookup(hash, name)
    }
}
