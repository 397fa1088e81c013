//! Turns blocks of big-endian pools into the form of little-endian ones, so that nothing above
//! knows of byte orders.
//!
//! Source: OpenZFS `module/zfs/dmu.c`, `dnode.c`, `zap.c`, `zap_leaf.c`, `dmu_objset.c`
//! (`*_byteswap`).

use super::object_type::{self, Swap};
use crate::blkptr::BLKPTR_SIZE;
use crate::dnode::{CORE_SIZE, DNODE_SIZE, FLAG_SPILL_BLKPTR};

const ZBT_MICRO: u64 = (1 << 63) + 3;
const ZBT_LEAF: u64 = 1 << 63;

/// Swaps all words of `N` bytes; what is left over stays.
fn words<const N: usize>(bytes: &mut [u8]) {
    bytes.as_chunks_mut::<N>().0.iter_mut().for_each(|word| word.reverse());
}

fn part(bytes: &mut [u8], start: usize, length: usize) -> &mut [u8] {
    let end = start.saturating_add(length).min(bytes.len());
    bytes.get_mut(start.min(end)..end).unwrap_or_default()
}

/// Swaps a block of objects of that type. Indirect blocks are words of 64 bits whatever the type.
pub(crate) fn block(object_type: u8, level: u8, bytes: &mut [u8]) {
    if level > 0 {
        words::<8>(bytes);
    } else {
        content(object_type::swap(object_type), bytes);
    }
}

fn content(swap: Swap, bytes: &mut [u8]) {
    match swap {
        Swap::Bytes | Swap::Acl => {}
        Swap::U16 => words::<2>(bytes),
        Swap::U32 => words::<4>(bytes),
        Swap::U64 => words::<8>(bytes),
        Swap::Zap => zap(bytes),
        Swap::Dnode => dnodes(bytes),
        Swap::Objset => objset(bytes),
        // The old ACL at its end has mixed sizes and is not read.
        Swap::Znode => words::<8>(part(bytes, 0, 176)),
    }
}

fn zap(bytes: &mut [u8]) {
    let first = bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    match first {
        Some(ZBT_MICRO) => {
            // Block type, salt, normalisation flags; then entries: value and collision number.
            words::<8>(part(bytes, 0, 24));
            for at in (64..bytes.len()).step_by(64) {
                words::<8>(part(bytes, at, 8));
                words::<4>(part(bytes, at + 8, 4));
            }
        }
        Some(ZBT_LEAF) => leaf(bytes),
        _ => words::<8>(bytes),
    }
}

fn leaf(bytes: &mut [u8]) {
    const CHUNK: usize = 24;
    const ENTRY: u8 = 252;
    words::<8>(part(bytes, 0, 24));
    words::<4>(part(bytes, 24, 4));
    words::<2>(part(bytes, 28, 8));
    // A hash table of one 16-bit number for each 32 bytes of the block, then chunks.
    let table = bytes.len() / 32 * 2;
    words::<2>(part(bytes, 48, table));
    for at in (48 + table..bytes.len()).step_by(CHUNK) {
        let chunk = part(bytes, at, CHUNK);
        if chunk.len() < CHUNK {
            break;
        }
        if chunk.first() == Some(&ENTRY) {
            words::<2>(part(chunk, 2, 10));
            words::<4>(part(chunk, 12, 4));
            words::<8>(part(chunk, 16, 8));
        } else {
            words::<2>(part(chunk, 22, 2));
        }
    }
}

fn dnodes(bytes: &mut [u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let slots = usize::from(bytes.get(at + 12).copied().unwrap_or(0)) + 1;
        dnode(part(bytes, at, slots * DNODE_SIZE));
        at += slots * DNODE_SIZE;
    }
}

fn dnode(bytes: &mut [u8]) {
    let field = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    if field(bytes, 0) == 0 {
        return;
    }
    words::<2>(part(bytes, 8, 4));
    words::<8>(part(bytes, 16, 16));
    let pointers = usize::from(field(bytes, 3)).min(3) * BLKPTR_SIZE;
    words::<8>(part(bytes, CORE_SIZE, pointers));
    let length = bytes.get(10..12).and_then(|bytes| bytes.first_chunk());
    let length = length.map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)));
    let spill = field(bytes, 7) & FLAG_SPILL_BLKPTR != 0;
    let end = bytes.len() - if spill { BLKPTR_SIZE.min(bytes.len()) } else { 0 };
    let bonus_type = field(bytes, 4);
    let start = (CORE_SIZE + pointers).min(end);
    content(object_type::swap(bonus_type), part(bytes, start, length.min(end - start)));
    if spill {
        words::<8>(part(bytes, end, BLKPTR_SIZE));
    }
}

fn objset(bytes: &mut [u8]) {
    // The meta dnode, the ZIL header, type and flags; MACs are bytes; then the accounting dnodes.
    dnode(part(bytes, 0, DNODE_SIZE));
    words::<8>(part(bytes, DNODE_SIZE, 208));
    for at in [1024, 1536, 2048] {
        dnode(part(bytes, at, DNODE_SIZE));
    }
}
